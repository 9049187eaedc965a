"""Says which contents of the blob store pipeline runs and the cache of their steps name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.kernel.stage import NAMED_CONTENT
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.ports.content import NamedContent, named_in
from treadle.ports.database import Database


class PipelineContent:
    """Lists what pipeline runs and the cache of their steps name.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each content that they name."""
        code = select(pipelines.c.code, pipelines.c.id)
        yield from named_in(self._database, code, "pipeline '{}' (its code)")
        outputs = select(pipeline_steps.c.output, pipeline_steps.c.pipeline, pipeline_steps.c.name)
        yield from named_in(self._database, outputs, "pipeline '{}' (step '{}')")
        cached = select(step_cache.c.output, step_cache.c.key)
        yield from named_in(self._database, cached, "the cached step '{:.12}'")
