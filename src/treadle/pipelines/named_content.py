"""Says which contents of the blob store pipeline runs and the cache of their steps name."""

from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from treadle.kernel.entity import from_json
from treadle.kernel.stage import ERASE, NAMED_CONTENT, SENSITIVE_CONTENT
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.ports.content import (
    HeldContent,
    NamedContent,
    Replacements,
    SensitiveContent,
    held_in,
    named_in,
)
from treadle.ports.database import Database

_WITH_ROWS = ("table", "file", "tables")  # a file may be a table
_SENSITIVE = (*_WITH_ROWS, "list", "array")  # which may hold rows, and are not written again
_TRIAL = "what a trial made (step '{:.12}')"


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
            .where(own, pipeline_steps.c.kind.in_(_SENSITIVE))
        )
        with self._database.read() as connection:
            rows = connection.execute(taken.order_by(pipelines.c.started_at)).all()
        for datasets, pipeline in rows:
            digest = from_json(datasets, dict[str, str]).get(dataset, "")
            yield SensitiveContent(digest, f"rows that pipeline '{pipeline}' took")
        for named in named_in(self._database, made, "table of pipeline '{}' (step '{}')"):
            yield SensitiveContent(named.digest, named.by)
        of_trials = select(step_cache.c.output, step_cache.c.key).where(
            step_cache.c.project == project, step_cache.c.kind.in_(_SENSITIVE)
        )
        for named in named_in(self._database, of_trials, _TRIAL):
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

    @ERASE("contents")
    def held_content(self) -> Iterator[HeldContent]:
        """Yield what pipelines took and what their steps made; models and code stay."""
        code = select(pipelines.c.code, pipelines.c.project, pipelines.c.id)
        yield from held_in(self._database, code, "pipeline '{}' (its code)", is_fixed=True)
        steps = pipeline_steps.c
        made = select(steps.output, pipelines.c.project, steps.pipeline, steps.name).join(
            pipelines, pipelines.c.id == steps.pipeline
        )
        by = "pipeline '{}' (step '{}')"
        yield from held_in(self._database, made.where(steps.kind.in_(_WITH_ROWS)), by)
        others = made.where(steps.kind.not_in(_WITH_ROWS))
        yield from held_in(self._database, others, by, is_fixed=True)
        cached = step_cache.c
        tried = select(cached.output, cached.project, cached.key).where(cached.project != "")
        yield from held_in(self._database, tried.where(cached.kind.in_(_WITH_ROWS)), _TRIAL)
        rest = tried.where(cached.kind.not_in(_WITH_ROWS))
        yield from held_in(self._database, rest, _TRIAL, is_fixed=True)
        taken = select(pipelines.c.datasets, pipelines.c.project, pipelines.c.id)
        with self._database.read() as connection:
            rows = connection.execute(taken).all()
        for datasets, project, pipeline in rows:
            for digest in from_json(datasets, dict[str, str]).values():
                yield HeldContent(digest, project, f"rows that pipeline '{pipeline}' took")

    @ERASE("replace")
    def replace(self, transaction: Connection, replaced: Replacements, project: str | None) -> int:
        """Let pipelines name the contents that take others' places, and forget cached outputs.

        Args:
            transaction: The write transaction.
            replaced: The new contents.
            project: The project whose pipelines are changed; None for all.
        """
        changed = 0
        own = select(pipelines.c.id)
        if project is not None:
            own = own.where(pipelines.c.project == project)
        for old, new in replaced.items():
            steps = pipeline_steps.update().where(
                pipeline_steps.c.output == old, pipeline_steps.c.pipeline.in_(own)
            )
            changed += transaction.execute(steps.values(output=new.digest)).rowcount
            named = pipelines.c.datasets.contains(old, autoescape=True)
            took = pipelines.update().where(named, pipelines.c.id.in_(own))
            other = func.replace(pipelines.c.datasets, old, new.digest)
            changed += transaction.execute(took.values(datasets=other)).rowcount
            cached = step_cache.delete().where(step_cache.c.output == old)
            if project is not None:  # it stays for as long as another project's step names it
                others = select(pipeline_steps.c.output).where(
                    pipeline_steps.c.output == old, pipeline_steps.c.pipeline.not_in(own)
                )
                cached = cached.where(~others.exists(), step_cache.c.project.in_(["", project]))
            transaction.execute(cached)
        return changed
