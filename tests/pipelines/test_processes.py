"""Pipeline runs whose steps are real processes."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.project import drained, start, value, write
from treadle.jobs.tables import jobs
from treadle.pipelines.model import PipelineRun
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.testing.executor import gone

PATIENCE_SECONDS = 30.0
WAITS = """
    import os, threading

    @treadle.step
    def first(): return 1

    @treadle.step
    def second(first, gate):
        from pathlib import Path
        print("pid", os.getpid(), flush=True)
        while not Path(gate).exists():
            threading.Event().wait(0.01)
        return first + 1
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded], tmp_path: Path) -> Embedded:
    return open_home(target="memory:", executor=f"subprocess://{tmp_path / 'jobs'}")


def until_it_prints(
    platform: Embedded, reconcile: Callable[[], int], pipeline: PipelineRun, step: str
) -> str:
    """What a running step has printed, once it has printed a whole line."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        reconcile()
        found = platform.pipelines.get(pipeline=pipeline.id).step(step)
        if found and found.job and (text := platform.jobs.log(job=found.job).text).endswith("\n"):
            return text
        time.sleep(0.01)
    raise AssertionError(
        f"step {step} printed nothing: {platform.pipelines.get(pipeline=pipeline.id)}"
    )


@pytest.mark.parametrize("scheme", ["subprocess", "forkserver"])
def test_three_steps_run_and_the_second_time_they_come_from_the_cache(
    open_home: Callable[..., Embedded], tmp_path: Path, scheme: str
) -> None:
    folder = write(
        tmp_path / "p",
        """
        from pathlib import Path
        import pandas as pd

        @treadle.step
        def table(source: Path) -> pd.DataFrame: return pd.read_csv(source)

        @treadle.step
        def holdout(table: pd.DataFrame) -> pd.DataFrame: return table[table.index % 2 == 0]

        @treadle.step
        def mean(holdout: pd.DataFrame, table: pd.DataFrame) -> float:
            return float(table["y"].mean() + len(holdout))
        """,
    )
    platform = open_home(target="memory:", executor=f"{scheme}://{tmp_path / 'jobs'}")
    datasets = {"source": put_files(platform.blobs, {"rows.csv": b"y\n1\n2\n3\n4\n"})}
    first = drained(platform, start(platform, folder, datasets))
    assert first.state == "succeeded", first.error
    assert value(platform, first, "mean") == 4.5
    assert [step.cached for step in first.steps] == [False] * 3
    jobs_so_far = len(platform.jobs.find())
    second = drained(platform, start(platform, folder, datasets))
    assert [step.cached for step in second.steps] == [True] * 3
    assert [step.output for step in second.steps] == [step.output for step in first.steps]
    assert len(platform.jobs.find()) == jobs_so_far


def test_a_step_that_raises_fails_the_run_with_its_message_and_its_log(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "p",
        """
        @treadle.step
        def a():
            print("about to fail")
            raise ValueError("the rows are empty")

        @treadle.step
        def b(a): return 1
        """,
    )
    pipeline = drained(platform, start(platform, folder))
    assert pipeline.state == "failed"
    job = pipeline.steps[0].job or ""
    assert pipeline.error == (
        "Step 'a' failed: ValueError: the rows are empty "
        f"(job {job} failed; see: treadle logs {job})"
    )
    log = platform.jobs.log(job=job)
    assert log.ended
    assert "about to fail" in log.text
    assert 'raise ValueError("the rows are empty")' in log.text
    assert platform.jobs.get(job=job).attempt == 1
    assert pipeline.steps[1].state == "waiting"


def test_an_ended_job_that_is_queued_again_runs_again(platform: Embedded, tmp_path: Path) -> None:
    pipeline = drained(
        platform,
        start(platform, write(tmp_path / "p", "@treadle.step\ndef a(): return object()\n")),
    )
    job = pipeline.steps[0].job or ""
    platform.jobs.retry(job=job)
    worker = platform.worker("test")
    worker.drain(timeout_seconds=PATIENCE_SECONDS, reconcile=lambda: 0)
    again = platform.jobs.get(job=job)
    assert again.state == "failed"
    assert "cannot be stored" in str(again.error)


def test_cancelling_a_run_ends_the_process_of_its_step(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", WAITS)
    pipeline = start(platform, folder, gate=str(tmp_path / "never"))
    worker = platform.worker("test")
    pid = int(
        until_it_prints(
            platform, lambda: worker.reconcile() + platform.reconcile(), pipeline, "second"
        ).split()[-1]
    )
    platform.pipelines.cancel(pipeline=pipeline.id)
    worker.drain(timeout_seconds=PATIENCE_SECONDS, reconcile=platform.reconcile)
    assert gone([pid])
    cancelled = platform.pipelines.get(pipeline=pipeline.id)
    assert cancelled.state == "cancelled"
    assert platform.jobs.get(job=cancelled.steps[1].job or "").state == "cancelled"


def test_a_run_survives_the_end_of_its_worker(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    settings = {"target": "memory:", "executor": f"subprocess://{tmp_path / 'jobs'}"}
    folder, gate = write(tmp_path / "p", WAITS), tmp_path / "gate"
    first = open_home(**settings)
    pipeline = start(first, folder, gate=str(gate))
    worker = first.worker("first")
    pid = int(
        until_it_prints(
            first, lambda: worker.reconcile() + first.reconcile(), pipeline, "second"
        ).split()[-1]
    )
    first.close()  # as in a crash: nothing was given back
    assert gone([pid])
    gate.touch()
    second = open_home(**settings)
    with second.database.write() as transaction:  # the lease of the dead worker runs out
        transaction.execute(jobs.update().where(jobs.c.state == "running").values(leased_until=0.0))
    ended = drained(second, pipeline)
    assert ended.state == "succeeded", ended.error
    assert value(second, ended, "second") == 2
    attempts = [second.jobs.get(job=step.job or "").attempt for step in ended.steps]
    assert attempts == [1, 2]
