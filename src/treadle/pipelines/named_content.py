"""Says which contents of the blob store pipeline runs and the cache of their steps name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.entity import from_json
from treadle.kernel.stage import NAMED_CONTENT, SENSITIVE_CONTENT
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.ports.content import NamedContent, SensitiveContent, named_in
from treadle.ports.database import Database


class PipelineContent:
    """Lists what pipeline runs and the cache of their steps name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @SENSITIVE_CONTENT()
    def tables(self, project: str, dataset: str, source: object) -> Iterator[SensitiveContent]:
        """Yield what pipelines took as a dataset, and the tables that their steps made then.

        Args:
            project: Name of the project.
            dataset: Name of the dataset.
            source: Its declaration, which plays no part.
        """
        del source
        took = pipelines.c.datasets.contains(f'"{dataset}":', autoescape=True)
        own = (pipelines.c.project == project) & took
        taken = select(pipelines.c.datasets, pipelines.c.id).where(own)
        made = (
            select(pipeline_steps.c.output, pipeline_steps.c.pipeline, pipeline_steps.c.name)
            .join(pipelines, pipelines.c.id == pipeline_steps.c.pipeline)
            .where(own, pipeline_steps.c.kind == "table")
        )
        with self._database.read() as connection:
            rows = connection.execute(taken.order_by(pipelines.c.started_at)).all()
        for datasets, pipeline in rows:
            digest = from_json(datasets, dict[str, str]).get(dataset, "")
            yield SensitiveContent(digest, f"rows that pipeline '{pipeline}' took")
        for named in named_in(self._database, made, "table of pipeline '{}' (step '{}')"):
            yield SensitiveContent(named.digest, named.by)

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        code = select(pipelines.c.code, pipelines.c.id)
        yield from named_in(self._database, code, "pipeline '{}' (its code)")
        outputs = select(pipeline_steps.c.output, pipeline_steps.c.pipeline, pipeline_steps.c.name)
        yield from named_in(self._database, outputs, "pipeline '{}' (step '{}')")
        cached = select(step_cache.c.output, step_cache.c.key)
        yield from named_in(self._database, cached, "the cached step '{:.12}'")
