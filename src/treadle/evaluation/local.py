"""Evaluation as the process has it that holds the database."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import select

from treadle.data import frames
from treadle.evaluation.calibration import Calibration, calibrate
from treadle.evaluation.comparable import (
    SEVERAL,
    Answered,
    Comparable,
    answered,
    check_task,
    comparable,
    same_kind,
)
from treadle.evaluation.judge import MIN_ROWS, judge, judge_unlabelled, measured
from treadle.evaluation.model import Judged, VerdictGiven
from treadle.evaluation.service import JUDGE_JOB, Evaluation
from treadle.evaluation.tables import evaluations
from treadle.kernel.clock import monotonic
from treadle.kernel.entity import from_json, from_plain, replace, to_text
from treadle.kernel.errors import Invalid
from treadle.kernel.event import acting
from treadle.kernel.stage import JOB, RECONCILE
from treadle.pipelines.output import TABLE
from treadle.ports.runtime import Signature
from treadle.ports.tree import fetch_tree
from treadle.training.package import Package


class LocalEvaluation(Evaluation):
    """Verdicts on candidates; with what judges them."""

    @JOB(JUDGE_JOB)
    def execute(self, payload: Mapping[str, Any]) -> Judged:
        """Judge a candidate; this is what the job's process calls.

        Args:
            payload: Names ``project``, and the digests of ``package``, ``holdout`` and
                ``champion`` (or None).

        Raises:
            Invalid: The project declares no label, or another task than the model's.
        """
        spec = self._scope.project(name=payload["project"]).spec
        source = spec.learnt
        if source is None:
            raise Invalid(
                "treadle.toml names no label, so there is nothing to compare predictions with."
            )
        self._reads.note(payload["holdout"], way="job")
        table = (
            fetch_tree(self._blobs, payload["holdout"], self._cache / payload["holdout"]) / TABLE
        )
        candidate = self._answers(payload["project"], payload["package"], table)
        check_task(source.task, candidate.signature, spec.requirement)
        if source.label is None:
            return judge_unlabelled(spec.requirement, candidate.scores)
        champion = self._champion_answers(payload, table, candidate.signature)
        truth = _truth(table, source.label)
        judged = judge(
            spec.requirement,
            *comparable(truth, source.label, candidate, champion),
        )
        alone = comparable(truth, source.label, candidate)
        return replace(judged, calibration=_calibration(candidate.signature, alone))

    def calibration(self, *, verdict: str) -> Calibration | None:
        """What a version's scores are worth as probabilities, by the rows that it was judged on.

        Args:
            verdict: Id of the verdict that it was registered on; '' for none.

        Returns:
            None where there is no such verdict, or the version gives no probabilities.
        """
        kept = select(evaluations.c.calibration).where(evaluations.c.id == verdict)
        with self._database.read() as connection:
            text = connection.execute(kept).scalar_one_or_none()
        return from_json(text, Calibration) if text else None

    def measure(
        self, *, project: str, package: str, holdout: str, label: str, metrics: list[str]
    ) -> dict[str, float]:
        """Measure a packaged model on a table.

        Args:
            project: Name of the model's project.
            package: Digest of the model's package.
            holdout: Digest of the table.
            label: The column with the truth; rows without it are left out.
            metrics: Names of metrics.

        Returns:
            Metric → value; metrics that cannot be computed are left out.

        Raises:
            Invalid: No truth is one of the model's classes.
        """
        table = fetch_tree(self._blobs, holdout, self._cache / holdout) / TABLE
        rows = comparable(_truth(table, label), label, self._answers(project, package, table))
        return measured(metrics, rows.truth, rows.candidate)

    def latency_ms(self, *, project: str, package: str, holdout: str) -> float:
        """Measure how long a packaged model takes for one row here.

        Args:
            project: Name of the model's project.
            package: Digest of the model's package.
            holdout: Digest of a table; its first row is asked for.

        Returns:
            The median of 50 answers in milliseconds, after 5 that warm the model.
        """
        table = fetch_tree(self._blobs, holdout, self._cache / holdout) / TABLE
        folder = fetch_tree(self._blobs, package, self._cache / package)
        opened = Package(folder, self._runtime_of(project))
        names = [field.name for field in opened.signature.inputs]
        row = {name: column[:1] for name, column in frames.columns(table, names).items()}
        seconds = []
        for _ in range(55):
            began = monotonic()
            opened.predict_table(row)
            seconds.append(monotonic() - began)
        return 1000 * median(seconds[5:])

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

    def _champion_answers(
        self, payload: Mapping[str, Any], table: Path, candidate: Signature
    ) -> Answered | None:
        """What the champion answers; None without one, or when it cannot be compared."""
        if payload["champion"] is None:
            return None
        try:
            champion = self._answers(payload["project"], payload["champion"], table)
        except Invalid as error:
            print(f"the champion cannot be compared: {error.message}", flush=True)
            return None
        if not same_kind(champion.signature, candidate):
            print("the champion cannot be compared: it has another task", flush=True)
            return None
        return champion

    def _answers(self, project: str, package: str, table: Path) -> Answered:
        folder = fetch_tree(self._blobs, package, self._cache / package)
        opened = Package(folder, self._runtime_of(project))
        columns = frames.columns(table, [field.name for field in opened.signature.inputs])
        return Answered(opened.signature, opened.predict_table(columns))

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
            values = {
                **given,
                "findings": to_text(judged.findings),
                "calibration": to_text(judged.calibration) if judged.calibration else None,
                "at": self._clock.now(),
            }
            if transaction.execute(evaluations.update().where(still).values(values)).rowcount:
                self._tracking.measured(transaction, row["run"], judged.metrics)
                self._events.append(transaction, event)
        return 1


def _calibration(signature: Signature, rows: Comparable) -> Calibration | None:
    """How well a candidate's scores are calibrated; None of too few rows and of other answers."""
    if signature.output not in ("probability", SEVERAL):
        return None
    scores = rows.candidate
    if signature.output == SEVERAL:
        scores = scores[:, : len(signature.classes)]  # other classes are none of the model's
    usable = answered(scores)
    within = bool(((scores[usable] >= 0) & (scores[usable] <= 1)).all())
    if usable.sum() < MIN_ROWS or not within:
        return None
    return calibrate(rows.truth[usable], scores[usable])


def _truth(table: Path, label: str) -> list[object]:
    """The label of each row: a number, a text, or None and NaN where it is not known."""
    return list(frames.columns(table, [label])[label].tolist())
