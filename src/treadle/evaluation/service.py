"""Evaluations run as jobs; each ends in a verdict that names its evidence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import select

from treadle.data.reads import SensitiveReads
from treadle.evaluation.model import Finding, Verdict
from treadle.evaluation.tables import evaluations
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Conflict, NotFound
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import ContentDigest, ProjectName, RunId, VerdictId
from treadle.kernel.operation import command, query
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, in_sight, load
from treadle.ports.runtime import RuntimeByName
from treadle.scope.service import Scope
from treadle.tracking.local import LocalTracking
from treadle.training.service import TrainingService

JUDGE_JOB = "evaluation.judge"


class Evaluation:
    """Verdicts on candidates."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        jobs: LocalJobs,
        scope: Scope,
        tracking: LocalTracking,
        training: TrainingService,
        runtime_of: RuntimeByName,
        cache: Path,
        reads: SensitiveReads,
    ) -> None:
        """Put evaluation together.

        Args:
            database: Where verdicts are kept.
            events: The log that verdicts are told in.
            clock: Says when a verdict is given.
            blobs: Where packages and tables are kept.
            jobs: Runs the judging.
            scope: Knows what each project requires.
            tracking: Keeps the measured metrics with the run.
            training: Knows what was trained.
            runtime_of: Gives what loads a project's models.
            cache: The folder that packages and tables are fetched into.
            reads: Records who reads sensitive data.
        """
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs
        self._jobs, self._scope, self._tracking, self._training = jobs, scope, tracking, training
        self._runtime_of, self._cache, self._reads = runtime_of, cache, reads

    @command()
    def request(self, *, run: RunId, champion: ContentDigest | None = None) -> str:
        """Have a finished training judged on its holdout, beside the champion if one is given.

        Args:
            run: Id of the run that trained the model.
            champion: Digest of the champion's package; left out, there is no comparison.

        Returns:
            The id of the verdict, which is given once the judging job has ended.

        Raises:
            NotFound: There is no such training.
            Conflict: The training has no model to judge.
        """
        training = self._training.get(run=run)
        if training.package is None or training.holdout is None:
            raise Conflict(f"Training '{run}' has no model to judge: it is {training.state}.")
        verdict = new_id("verdict")
        payload = {"project": training.project, "package": training.package, "champion": champion}
        with self._database.write() as transaction:
            job = self._jobs.enqueue(
                transaction,
                kind=JUDGE_JOB,
                payload={**payload, "holdout": training.holdout},
                project=training.project,
            )
            row = {
                "id": verdict,
                "run": run,
                **payload,
                "holdout": training.holdout,
                "job": job,
                "state": "running",
            }
            act = current_act()
            transaction.execute(
                evaluations.insert().values(
                    **row, at=self._clock.now(), actor=act.actor, cause=act.cause
                )
            )
        return verdict

    @query()
    def get(self, *, verdict: VerdictId) -> Verdict:
        """Show one verdict with its findings.

        Args:
            verdict: The verdict's id.

        Raises:
            NotFound: There is no such verdict, or it is not given yet.
        """
        given = select(evaluations).where(
            evaluations.c.id == verdict, evaluations.c.state == "given"
        )
        with self._database.read() as connection:
            row = connection.execute(given).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no verdict '{verdict}', or it is not given yet.")
        return _verdict(row)

    @query()
    def find(
        self,
        *,
        project: ProjectName | None = None,
        run: RunId | None = None,
        verdicts: list[VerdictId] | None = None,
        limit: int = 50,
    ) -> list[Verdict]:
        """List verdicts, newest first.

        Args:
            project: Only those of this project.
            run: Only those on the model that this run trained.
            verdicts: Only those with these ids.
            limit: The most verdicts to list.
        """
        given = select(evaluations).where(
            evaluations.c.state == "given", in_sight(evaluations.c.project)
        )
        given = given.order_by(evaluations.c.id.desc()).limit(limit)
        if project:
            given = given.where(evaluations.c.project == project)
        if run:
            given = given.where(evaluations.c.run == run)
        if verdicts is not None:
            given = given.where(evaluations.c.id.in_(verdicts))
        with self._database.read() as connection:
            return [_verdict(row) for row in connection.execute(given).mappings()]


def _verdict(row: Mapping[Any, Any]) -> Verdict:
    return load(Verdict, row, findings=from_json(row["findings"], list[Finding]))
