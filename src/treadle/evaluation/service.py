"""Evaluations run as jobs; each ends in a verdict that names its evidence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

from treadle.data import frames
from treadle.evaluation.judge import judge, measured
from treadle.evaluation.model import Finding, Judged, Verdict, VerdictGiven
from treadle.evaluation.tables import evaluations
from treadle.events.service import Events
from treadle.jobs.service import Jobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, from_plain, to_text
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.event import acting, current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import ProjectName, RunId, VerdictId
from treadle.kernel.operation import command, query
from treadle.kernel.stage import JOB, RECONCILE
from treadle.pipelines.output import TABLE
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.runtime import Runtime
from treadle.ports.tree import fetch_tree
from treadle.scope.service import Scope
from treadle.stats.metrics import Array
from treadle.tracking.local import LocalTracking
from treadle.training.package import Package
from treadle.training.service import TrainingService

JUDGE_JOB = "evaluation.judge"


class Evaluation:
    """Verdicts on candidates."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Clock,
        blobs: Blobs,
        jobs: Jobs,
        scope: Scope,
        tracking: LocalTracking,
        training: TrainingService,
        runtime: Runtime,
        cache: Path,
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
            runtime: Loads models.
            cache: The folder that packages and tables are fetched into.
        """
        self._database, self._events, self._clock, self._blobs = database, events, clock, blobs
        self._jobs, self._scope, self._tracking, self._training = jobs, scope, tracking, training
        self._runtime, self._cache = runtime, cache

    @command()
    def request(self, *, run: RunId, champion: str | None = None) -> str:
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
        self, *, project: ProjectName | None = None, run: RunId | None = None, limit: int = 50
    ) -> list[Verdict]:
        """List verdicts, newest first.

        Args:
            project: Only those of this project.
            run: Only those on the model that this run trained.
            limit: The most verdicts to list.
        """
        given = select(evaluations).where(evaluations.c.state == "given")
        given = given.order_by(evaluations.c.id.desc()).limit(limit)
        if project:
            given = given.where(evaluations.c.project == project)
        if run:
            given = given.where(evaluations.c.run == run)
        with self._database.read() as connection:
            return [_verdict(row) for row in connection.execute(given).mappings()]

    @JOB(JUDGE_JOB)
    def execute(self, payload: Mapping[str, Any]) -> Judged:
        """Judge a candidate; this is what the job's process calls.

        Args:
            payload: Names ``project``, and the digests of ``package``, ``holdout`` and
                ``champion`` (or None).

        Raises:
            Invalid: The project declares no label, or the model cannot be judged by one score.
        """
        spec = self._scope.project(name=payload["project"]).spec
        label = spec.labelled.label if spec.labelled else None
        if label is None:
            raise Invalid(
                "treadle.toml names no label, so there is nothing to compare predictions with."
            )
        table = (
            fetch_tree(self._blobs, payload["holdout"], self._cache / payload["holdout"]) / TABLE
        )
        truth, known = _truth(table, label)
        candidate = self._scores(payload["package"], table)
        champion = self._champion_scores(payload["champion"], table)
        return judge(
            spec.requirement,
            truth[known],
            candidate[known],
            None if champion is None else champion[known],
        )

    def measure(
        self, *, package: str, holdout: str, label: str, metrics: list[str]
    ) -> dict[str, float]:
        """Measure a packaged model on a table.

        Args:
            package: Digest of the model's package.
            holdout: Digest of the table.
            label: The column with the truth; rows without it are left out.
            metrics: Names of metrics.

        Returns:
            Metric → value; metrics that cannot be computed are left out.

        Raises:
            Invalid: The model gives more than one score a row.
        """
        table = fetch_tree(self._blobs, holdout, self._cache / holdout) / TABLE
        truth, known = _truth(table, label)
        scores = self._scores(package, table)
        return measured(metrics, truth[known], scores[known])

    @RECONCILE()
    def reconcile(self) -> int:
        """Give the verdicts whose jobs have ended.

        Returns:
            How many verdicts were given.
        """
        with self._database.read() as connection:
            rows = (
                connection.execute(select(evaluations).where(evaluations.c.state == "running"))
                .mappings()
                .all()
            )
        return sum(self._settle(row) for row in rows)

    def _champion_scores(self, package: str | None, table: Path) -> Array | None:
        """The champion's scores; None without one, or when the rows lack columns it needs."""
        if package is None:
            return None
        try:
            return self._scores(package, table)
        except Invalid as error:
            print(f"the champion cannot be compared: {error.message}", flush=True)
            return None

    def _scores(self, package: str, table: Path) -> Array:
        opened = Package(fetch_tree(self._blobs, package, self._cache / package), self._runtime)
        if opened.signature.output == "probabilities":
            raise Invalid(
                "The model tells more than two classes apart, and there is no metric for that yet."
            )
        return opened.predict_table(
            frames.columns(table, [field.name for field in opened.signature.inputs])
        )

    def _settle(self, row: Mapping[Any, Any]) -> int:
        job = self._jobs.get(job=row["job"])
        if not job.ended:
            return 0
        if job.state == "succeeded":
            judged = from_plain(job.result, Judged)
        else:
            reason = (
                f"It could not be judged: {job.error} (job {job.id}; see: treadle logs {job.id})"
            )
            judged = Judged(outcome="not enough evidence", reason=reason, rows=0, findings=[])
        given = {
            "state": "given",
            "outcome": judged.outcome,
            "reason": judged.reason,
            "rows": judged.rows,
        }
        event = VerdictGiven(
            verdict=row["id"],
            run=row["run"],
            project=row["project"],
            package=row["package"],
            holdout=row["holdout"],
            outcome=judged.outcome,
            reason=judged.reason,
        )
        still = (evaluations.c.id == row["id"]) & (evaluations.c.state == "running")
        with self._database.write() as transaction, acting(row["actor"], cause=row["cause"]):
            values = {**given, "findings": to_text(judged.findings), "at": self._clock.now()}
            if transaction.execute(evaluations.update().where(still).values(values)).rowcount:
                self._tracking.measured(transaction, row["run"], judged.metrics)
                self._events.append(transaction, event)
        return 1


def _truth(table: Path, label: str) -> tuple[Array, Array]:
    """The label of each row, and where it is known."""
    truth = frames.columns(table, [label])[label].astype(np.float64)
    return truth, np.isfinite(truth)


def _verdict(row: Mapping[Any, Any]) -> Verdict:
    return load(Verdict, row, findings=from_json(row["findings"], list[Finding]))
