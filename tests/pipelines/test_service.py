"""Pipeline runs: what is made once is not made again, and what fails says why."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.project import do_one_job, settle, settled, start, value, write
from treadle.kernel.clock import ManualClock
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.pipelines.model import PipelineRun
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files, put_tree, read_tree

CHAIN = """
    from pathlib import Path

    @treadle.step
    def rows(source: Path) -> list:
        return [int(line) for line in source.read_text().split()]

    @treadle.step
    def fixed() -> int:
        return 10

    @treadle.step
    def total(rows, fixed, scale: int = 1) -> int:
        return (sum(rows) + fixed) * scale
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


def made_again(pipeline: PipelineRun) -> set[str]:
    assert pipeline.state == "succeeded", pipeline.error
    return {step.name for step in pipeline.steps if not step.cached}


def data(platform: Embedded, text: str) -> dict[str, str]:
    return {"source": put_files(platform.blobs, {"rows.txt": text.encode()})}


def test_changed_data_is_made_again_and_only_what_depends_on_it(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", CHAIN)
    first = settled(platform, start(platform, folder, data(platform, "1 2")))
    assert made_again(first) == {"rows", "fixed", "total"}
    assert value(platform, first, "total") == 13
    again = settled(platform, start(platform, folder, data(platform, "1 2")))
    assert made_again(again) == set()
    changed = settled(platform, start(platform, folder, data(platform, "1 5")))
    assert made_again(changed) == {"rows", "total"}
    assert value(platform, changed, "total") == 16


def test_data_that_reads_the_same_spares_what_comes_after(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", CHAIN)
    settled(platform, start(platform, folder, data(platform, "1 2")))
    assert made_again(settled(platform, start(platform, folder, data(platform, "1  2\n")))) == {
        "rows"
    }


def test_changed_code_is_made_again(platform: Embedded, tmp_path: Path) -> None:
    source = data(platform, "1")
    folder = write(tmp_path / "p", CHAIN)
    settled(platform, start(platform, folder, source))
    write(folder, CHAIN.replace("return 10", "return 20"))
    changed = settled(platform, start(platform, folder, source))
    assert value(platform, changed, "total") == 21


def test_a_changed_helper_module_is_changed_code(platform: Embedded, tmp_path: Path) -> None:
    pipeline = "import helper_of_code\n@treadle.step\ndef a(): return helper_of_code.NUMBER\n"
    folder = write(tmp_path / "p", pipeline, helper_of_code__py="NUMBER = 1\n")
    first = settled(platform, start(platform, folder))
    (folder / "helper_of_code.py").write_text("NUMBER = 2\n")
    second = settled(platform, start(platform, folder))
    assert (made_again(first), made_again(second)) == ({"a"}, {"a"})


def test_only_a_parameter_that_is_asked_for_makes_a_difference(
    platform: Embedded, tmp_path: Path
) -> None:
    folder, source = write(tmp_path / "p", CHAIN), data(platform, "1")
    settled(platform, start(platform, folder, source))
    scaled = settled(platform, start(platform, folder, source, scale=2))
    assert made_again(scaled) == {"total"}
    assert value(platform, scaled, "total") == 22


def test_a_home_inside_the_project_is_no_part_of_its_code(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    """``.treadle`` is beside ``pipeline.py`` by default, and it holds copies of code."""
    folder = write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n")
    platform = open_home("p/.treadle", target="memory:")
    first = settled(platform, start(platform, folder))
    second = settled(platform, start(platform, folder))
    assert list(read_tree(platform.blobs, second.code).files) == ["pipeline.py"]
    assert second.code == first.code
    assert made_again(second) == set()


def test_what_a_lost_blob_held_is_made_again(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n")
    first = settled(platform, start(platform, folder))
    platform.blobs.delete(first.steps[0].output or "")
    assert made_again(settled(platform, start(platform, folder))) == {"a"}


def test_a_dataset_of_one_file_arrives_as_the_file_and_one_of_many_as_the_folder(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "p",
        """
        @treadle.step
        def seen(one, many):
            names = sorted(p.name for p in many.iterdir())
            return [one.is_file(), one.read_text(), many.is_dir(), names]
        """,
    )
    sources = {"one": {"a.csv": b"A"}, "many": {"a.csv": b"A", "b.csv": b"B"}}
    for name, files in sources.items():
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    datasets = {name: put_tree(platform.blobs, tmp_path / name) for name in sources}
    pipeline = settled(platform, start(platform, folder, datasets))
    assert value(platform, pipeline, "seen") == [True, "A", True, ["a.csv", "b.csv"]]


def test_a_file_that_another_process_is_still_fetching_does_not_make_a_dataset_a_folder(
    platform: Embedded, tmp_path: Path
) -> None:
    """Blobs are fetched beside the file that they become; parallel steps share a cache."""
    folder = write(tmp_path / "p", "@treadle.step\ndef seen(one): return one.is_file()\n")
    digest = put_files(platform.blobs, {"a.csv": b"A"})
    (tmp_path / "home" / "cache" / digest).mkdir(parents=True)
    (tmp_path / "home" / "cache" / digest / f".{digest}.4711").write_bytes(b"A")
    pipeline = settled(platform, start(platform, folder, {"one": digest}))
    assert value(platform, pipeline, "seen") is True


def test_a_step_may_import_its_own_modules_when_it_runs(platform: Embedded, tmp_path: Path) -> None:
    pipeline = (
        "@treadle.step\ndef a():\n    import helper_of_late\n    return helper_of_late.NUMBER\n"
    )
    folder = write(tmp_path / "p", pipeline, helper_of_late__py="NUMBER = 7\n")
    assert value(platform, settled(platform, start(platform, folder)), "a") == 7


@pytest.mark.parametrize("given", [3, 0.25, "text", True, "3", -(2**40), "ä→"])
def test_a_parameter_arrives_as_it_was_given(
    platform: Embedded, tmp_path: Path, given: object
) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef echo(x): return [type(x).__name__, x]\n")
    pipeline = settled(platform, start(platform, folder, x=given))
    assert value(platform, pipeline, "echo") == [type(given).__name__, given]


@pytest.mark.parametrize("given", [float("nan"), float("inf")])
def test_a_parameter_that_cannot_be_kept_is_refused_by_name(
    platform: Embedded, tmp_path: Path, given: float
) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef echo(x): return repr(x)\n")
    with pytest.raises(Invalid, match="'x'"):
        start(platform, folder, x=given)


def test_the_moment_and_the_seed_are_given_to_a_step_that_asks(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "p", "@treadle.step\ndef a(asof, seed): return [asof.isoformat(), seed]\n"
    )
    pipeline = settled(platform, start(platform, folder))
    assert value(platform, pipeline, "a") == [pipeline.asof.isoformat(), 0]
    seeded = settled(platform, start(platform, folder, seed=5))
    assert value(platform, seeded, "a") == [seeded.asof.isoformat(), 5]


def test_a_step_that_cannot_be_stored_fails_the_run_with_what_to_return(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(
        tmp_path / "p",
        "@treadle.step\ndef a(): return object()\n@treadle.step\ndef b(a): return 1\n",
    )
    pipeline = settled(platform, start(platform, folder))
    assert pipeline.state == "failed"
    assert (
        "Step 'a' failed: A step returned a object, which cannot be stored. Return a frame"
        in str(pipeline.error)
    )
    assert [step.state for step in pipeline.steps] == ["failed", "waiting"]


def test_a_failed_run_leaves_no_job_behind(platform: Embedded, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        "@treadle.step\ndef a(): return object()\n@treadle.step\ndef b(): return 1\n",
    )
    pipeline = start(platform, folder)
    platform.pipelines.reconcile()
    do_one_job(platform)
    platform.pipelines.reconcile()
    assert platform.pipelines.get(pipeline=pipeline.id).state == "failed"
    assert not platform.jobs.open()


def test_what_a_failed_run_made_is_not_made_again(platform: Embedded, tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        "@treadle.step\ndef a(): return 1\n@treadle.step\ndef b(a, ok): return 2 // ok\n",
    )
    failed = settled(platform, start(platform, folder, ok=0))
    assert "ZeroDivisionError" in str(failed.error)
    assert made_again(settled(platform, start(platform, folder, ok=1))) == {"b"}


def test_a_run_that_waits_is_cancelled_at_once(platform: Embedded, tmp_path: Path) -> None:
    pipeline = start(platform, write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n"))
    platform.pipelines.reconcile()
    cancelled = platform.pipelines.cancel(pipeline=pipeline.id)
    assert (cancelled.state, cancelled.error) == ("cancelled", "It was cancelled.")
    assert not platform.jobs.open()
    with pytest.raises(Conflict, match=rf"Pipeline run '{pipeline.id}' .*cancelled already"):
        platform.pipelines.cancel(pipeline=pipeline.id)


def test_no_step_of_an_ended_run_is_said_to_run(platform: Embedded, tmp_path: Path) -> None:
    pipeline = start(platform, write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n"))
    platform.pipelines.reconcile()
    cancelled = platform.pipelines.cancel(pipeline=pipeline.id)
    assert [step.state for step in cancelled.steps if step.state == "running"] == []


def test_a_run_goes_on_in_another_platform_over_the_same_home(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", CHAIN)
    first = open_home(target="memory:")
    pipeline = start(first, folder, data(first, "1 2"))
    first.pipelines.reconcile()
    assert do_one_job(first)
    first.close()
    second = open_home()
    ended = settled(second, pipeline)
    assert ended.state == "succeeded"
    assert [record.type for record in second.events.history(subject=f"pipeline:{pipeline.id}")] == [
        "PipelineStarted",
        "PipelineEnded",
    ]
    assert len(second.jobs.find()) == 3


def test_reconciling_again_changes_nothing(platform: Embedded, tmp_path: Path) -> None:
    pipeline = settled(
        platform, start(platform, write(tmp_path / "p", "@treadle.step\ndef a(): return 1\n"))
    )
    before = platform.events.last_number()
    settle(platform)
    assert platform.events.last_number() == before
    assert platform.pipelines.get(pipeline=pipeline.id) == pipeline


def test_a_run_that_cannot_start_leaves_nothing(platform: Embedded, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="Did you mean 'depth'"):
        start(platform, write(tmp_path / "p", "@treadle.step\ndef a(deph): return 1\n"), depth=3)
    assert platform.pipelines.find() == []
    assert platform.events.history() == []


def test_an_unknown_run_says_how_to_find_those_that_are_there(platform: Embedded) -> None:
    with pytest.raises(
        NotFound, match=r"no pipeline run 'pipe_x'\. List them with: treadle pipelines find"
    ):
        platform.pipelines.get(pipeline="pipe_x")


FLAKY = """
    @treadle.step(retries=2, backoff="30s", timeout="20m")
    def flaky(flag: str) -> int:
        from pathlib import Path
        tries = Path(flag)
        tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
        if len(tries.read_text()) < 3:
            raise ValueError("the source is not there yet")
        return 7

    @treadle.step
    def after(flaky) -> int:
        return flaky + 1
"""


def test_a_step_is_tried_again_after_its_pause(
    platform: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(platform.clock.now())
    for service in (platform.pipelines, platform.jobs):
        monkeypatch.setattr(service, "_clock", clock)
    begun = start(platform, write(tmp_path / "p", FLAKY), flag=str(tmp_path / "tries"))
    pauses = []
    for tries in (1, 2):
        settle(platform)
        (step, _) = platform.pipelines.get(pipeline=begun.id).steps
        assert (step.state, step.tries, step.retry_at is None) == ("waiting", tries, False)
        assert "the source is not there yet" in (step.error or "")
        assert step.retry_at is not None
        pauses.append((step.retry_at - clock.now()).total_seconds())
        settle(platform)  # nothing happens before its time
        assert platform.pipelines.get(pipeline=begun.id).steps[0].tries == tries
        clock.set(step.retry_at)
    done = settled(platform, begun)
    assert pauses == [30.0, 60.0]
    assert (done.state, done.steps[0].tries) == ("succeeded", 2)
    assert value(platform, done, "after") == 8
    job = platform.jobs.get(job=done.steps[0].job or "")
    assert job.timeout_seconds == 1200.0


def test_a_step_without_a_try_left_ends_its_pipeline(platform: Embedded, tmp_path: Path) -> None:
    code = '@treadle.step(retries=1, backoff="0.001s")\ndef a(): raise ValueError("no")\n'
    begun = start(platform, write(tmp_path / "p", code))
    ended = settled(platform, begun)
    while ended.state == "running":
        ended = settled(platform, begun)
    assert (ended.state, ended.steps[0].state, ended.steps[0].tries) == ("failed", "failed", 2)
    assert "Step 'a' failed" in (ended.error or "")


def test_a_try_that_another_process_has_settled_is_not_settled_again(
    platform: Embedded, tmp_path: Path
) -> None:
    code = '@treadle.step(retries=3, backoff="0.001s")\ndef a(): raise ValueError("no")\n'
    begun = start(platform, write(tmp_path / "p", code))
    platform.pipelines.reconcile()
    assert do_one_job(platform)
    stale = platform.pipelines.get(pipeline=begun.id)
    while platform.pipelines.get(pipeline=begun.id).steps[0].job == stale.steps[0].job:
        platform.pipelines.reconcile()  # the first try is settled, and the second begins
    now = platform.pipelines.get(pipeline=begun.id).steps[0]
    assert (now.state, now.tries) == ("running", 1)
    platform.pipelines._settle(stale)  # by a process that was slower
    assert platform.pipelines.get(pipeline=begun.id).steps[0] == now


def test_an_error_is_not_laid_to_a_sandbox_that_is_not_there(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", "@treadle.step\ndef a(): return open('nothing').read()\n")
    run = settled(platform, start(platform, folder))
    assert run.error and "FileNotFoundError" in run.error
    assert "declared inputs" not in run.error
