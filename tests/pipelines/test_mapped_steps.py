"""Steps that are called for each element, under a condition, or again although they are cached."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.project import do_one_job, drained, settled, start, value, write
from treadle.kernel.errors import Invalid, NotFound
from treadle.pipelines.elements import MOST_ELEMENTS
from treadle.pipelines.model import PipelineRun
from treadle.pipelines.step import StepPlan, parse_steps, plan
from treadle.pipelines.step import step as mark
from treadle.pipelines.tables import pipeline_steps
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files

REGIONS = """
    import pandas as pd
    from pathlib import Path

    @treadle.step
    def regions(names: list) -> list:
        return names

    @treadle.step(map={"region": "regions"})
    def sales(region: str, factor: int = 1) -> dict:
        return {"region": region, "sold": len(region) * factor}

    @treadle.step
    def total(sales: list) -> int:
        return sum(one["sold"] for one in sales)
"""


@pytest.fixture
def platform(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home(target="memory:")


def called(pipeline: PipelineRun, step: str) -> list[str]:
    """The calls of a mapped step that were made now, not earlier."""
    assert pipeline.state == "succeeded", pipeline.error
    return [part.name for part in pipeline.parts_of(step) if not part.cached]


def test_a_step_is_called_for_each_element_and_a_new_one_is_all_that_is_done(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", REGIONS)
    first = settled(platform, start(platform, folder, names=["south", "north"]))
    assert called(first, "sales") == ["sales[0]", "sales[1]"]
    assert value(platform, first, "sales") == [
        {"region": "south", "sold": 5},
        {"region": "north", "sold": 5},
    ]
    assert value(platform, first, "total") == 10
    more = settled(platform, start(platform, folder, names=["east", "south", "north"]))
    assert called(more, "sales") == ["sales[0]"]
    assert value(platform, more, "total") == 14
    same = settled(platform, start(platform, folder, names=["east", "south", "north"]))
    found = same.step("sales")
    assert found and found.cached and same.parts_of("sales") == []
    other = settled(platform, start(platform, folder, names=["east"], factor=2))
    assert called(other, "sales") == ["sales[0]"] and value(platform, other, "total") == 8


def test_each_file_of_a_dataset_is_an_element(platform: Embedded, tmp_path: Path) -> None:
    days = """
        from pathlib import Path

        @treadle.step(map={"day": "days"})
        def counted(day: Path) -> list:
            return [day.name, len(day.read_text().split())]
    """
    folder = write(tmp_path / "p", days)
    files: dict[str, Path | bytes] = {"2026/01.csv": b"a b", "2026/02.csv": b"c"}
    first = settled(platform, start(platform, folder, {"days": put_files(platform.blobs, files)}))
    assert value(platform, first, "counted") == [["01.csv", 2], ["02.csv", 1]]
    files["2026/03.csv"] = b"d e f"
    more = settled(platform, start(platform, folder, {"days": put_files(platform.blobs, files)}))
    assert called(more, "counted") == ["counted[2]"]
    assert value(platform, more, "counted") == [["01.csv", 2], ["02.csv", 1], ["03.csv", 3]]


def test_tables_go_from_call_to_call_and_come_together_as_a_list(
    platform: Embedded, tmp_path: Path
) -> None:
    chained = """
        import pandas as pd

        @treadle.step(map={"n": "sizes"})
        def table(n: int) -> pd.DataFrame:
            return pd.DataFrame({"x": range(n)})

        @treadle.step(map={"part": "table"})
        def doubled(part: pd.DataFrame) -> pd.DataFrame:
            return part * 2

        @treadle.step
        def joined(doubled: list[pd.DataFrame]) -> list:
            return [frame["x"].tolist() for frame in doubled]
    """
    run = settled(platform, start(platform, write(tmp_path / "p", chained), sizes=[2, 0, 3]))
    assert value(platform, run, "joined") == [[0, 2], [], [0, 2, 4]]


def test_arrays_and_files_go_from_step_to_step(platform: Embedded, tmp_path: Path) -> None:
    code = """
        from pathlib import Path

        import numpy as np

        @treadle.step(map={"n": "sizes"})
        def written(n: int) -> Path:
            file = Path("rows.txt")
            file.write_text("x" * n)
            return file

        @treadle.step
        def lengths(written: list) -> dict:
            return {"lengths": np.array([len(file.read_text()) for file in written])}

        @treadle.step
        def largest(lengths: dict) -> int:
            return lengths["lengths"].max()
    """
    run = start(platform, write(tmp_path / "p", code), sizes=[2, 7, 3])
    done = drained(platform, run)
    assert value(platform, done, "largest") == 7
    assert [step.kind for step in done.steps] == ["tables", "array", "value"]


def test_no_element_makes_an_empty_list(platform: Embedded, tmp_path: Path) -> None:
    run = settled(platform, start(platform, write(tmp_path / "p", REGIONS), names=[]))
    assert value(platform, run, "sales") == [] and value(platform, run, "total") == 0


def test_real_processes_make_the_calls_beside_one_another(
    platform: Embedded, tmp_path: Path
) -> None:
    names = [f"n{number:03}" for number in range(70)]  # more than are queued at a time
    run = start(platform, write(tmp_path / "p", REGIONS), names=names)
    done = drained(platform, run, timeout_seconds=240)
    assert value(platform, done, "total") == 70 * 4


def test_a_call_that_fails_names_its_element_and_the_others_are_kept(
    platform: Embedded, tmp_path: Path
) -> None:
    failing = """
        from pathlib import Path

        @treadle.step(map={"n": "numbers"})
        def inverse(n: int) -> float:
            return 1 / n
    """
    folder = write(tmp_path / "p", failing)
    run = settled(platform, start(platform, folder, numbers=[1, 0, 2]))
    assert run.state == "failed"
    assert run.error and "'inverse' failed: 1 of its 3 calls failed. inverse[1]:" in run.error
    assert "ZeroDivisionError" in run.error
    again = settled(platform, start(platform, folder, numbers=[1, 4]))
    assert called(again, "inverse") == ["inverse[1]"]


def test_a_call_is_tried_again_alone(platform: Embedded, tmp_path: Path) -> None:
    flaky = """
        @treadle.step(map={"n": "numbers"}, retries=1, backoff="0.001s")
        def inverse(n: int) -> float:
            return 1 / n
    """
    begun = start(platform, write(tmp_path / "p", flaky), numbers=[1, 0])
    run = settled(platform, begun)
    while run.state == "running":
        run = settled(platform, begun)
    first, second = run.parts_of("inverse")
    assert (run.state, first.state, second.state) == ("failed", "succeeded", "failed")
    assert (first.tries, second.tries) == (0, 2)


def test_cancelled_in_the_middle_its_calls_end(platform: Embedded, tmp_path: Path) -> None:
    run = start(platform, write(tmp_path / "p", REGIONS), names=["a", "b"])
    platform.reconcile()
    do_one_job(platform)
    platform.reconcile()
    platform.reconcile()
    platform.pipelines.cancel(pipeline=run.id)
    ended = settled(platform, run)
    assert ended.state == "cancelled"
    assert {part.state for part in ended.parts} <= {"failed", "waiting"}
    assert not do_one_job(platform)


def test_what_a_step_forges_fails_its_run_and_holds_up_no_other(
    platform: Embedded, tmp_path: Path
) -> None:
    forged = """
        from treadle.pipelines import output

        @treadle.step
        def lists() -> list:
            output.save = lambda *_: KIND
            return [1]

        @treadle.step(map={"n": "lists"})
        def each(n: int) -> int:
            return n
    """
    other = start(platform, write(tmp_path / "other", REGIONS), names=["a"])
    for kind in ("list", "value", "table", "file", "array"):
        folder = write(tmp_path / kind, forged.replace("KIND", repr(kind)))
        run = drained(platform, start(platform, folder))
        assert (
            run.state == "failed" and run.error and f"has made a {kind}, and has not" in run.error
        )
    assert drained(platform, other).state == "succeeded"


@pytest.mark.parametrize("content", [b"{", b'["table"]', b'["list", "list"]', b'"x"'])
def test_a_list_that_is_none_fails_its_run_in_a_sentence(
    platform: Embedded, tmp_path: Path, content: bytes
) -> None:
    run = settled(platform, start(platform, write(tmp_path / "p", REGIONS), names=["a"]))
    tree = put_files(platform.blobs, {"kinds.json": content, "x/y": b"", "-1/value.json": b"1"})
    begun = start(platform, write(tmp_path / "p", CHAINED), names=["b"])
    platform.reconcile()
    with platform.database.write() as transaction:
        own = pipeline_steps.c.pipeline == begun.id
        done = {"state": "succeeded", "output": tree, "kind": "list", "job": None}
        first = own & (pipeline_steps.c.name == "first")
        transaction.execute(pipeline_steps.update().where(first).values(**done))
    other = start(platform, write(tmp_path / "other", REGIONS), names=["c"])
    ended = settled(platform, begun)
    assert ended.state == "failed" and ended.error
    assert settled(platform, other).state == "succeeded" and run.state == "succeeded"


CHAINED = """
    @treadle.step(map={"name": "names"})
    def first(name: str) -> str:
        return name

    @treadle.step(map={"one": "first"})
    def second(one: str) -> str:
        return one
"""


def test_a_list_is_not_taken_for_an_element(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", "@treadle.step(map={'a': 'xs'})\ndef f(a): return a\n")
    one = settled(platform, start(platform, folder, xs=["a"]))
    assert value(platform, one, "f") == ["a"]
    two = settled(platform, start(platform, folder, xs=["value", "a"]))
    assert value(platform, two, "f") == ["value", "a"]


def test_equal_elements_and_equal_steps_of_several_runs_are_made_once(
    platform: Embedded, tmp_path: Path
) -> None:
    folder = write(tmp_path / "p", REGIONS)
    runs = [start(platform, folder, names=["a", "a", "a"]) for _ in range(3)]
    seconds = [
        one.seconds
        for run in runs
        for one in settled(platform, run).parts + settled(platform, run).steps[:1]
        if not one.cached
    ]
    assert sum(bool(took) for took in seconds) == 2  # one call of each step


def test_jobs_that_another_process_began_are_ended_with_the_run(
    platform: Embedded, tmp_path: Path
) -> None:
    run = start(platform, write(tmp_path / "p", CHAINED), names=["a", "b"])
    before = platform.pipelines.get(pipeline=run.id)
    platform.reconcile()
    platform.reconcile()
    platform.pipelines._finish(before, "cancelled", "It was cancelled.")
    assert not do_one_job(platform)


BRANCHES = """
    @treadle.step
    def is_large(size: int) -> bool:
        return size > 10

    @treadle.step(when="is_large")
    def sampled(size: int) -> int:
        return 10

    @treadle.step(when="not is_large")
    def whole(size: int) -> int:
        return size

    @treadle.step
    def rows(sampled: int = 0, whole: int = 0) -> int:
        return sampled + whole

    @treadle.step
    def told(sampled: int) -> str:
        return f"sampled {sampled}"
"""


@pytest.mark.parametrize("size, rows, skipped", [(50, 10, {"whole"}), (4, 4, {"sampled", "told"})])
def test_a_branch_is_taken_and_what_needs_the_other_is_skipped(
    platform: Embedded, tmp_path: Path, size: int, rows: int, skipped: set[str]
) -> None:
    run = settled(platform, start(platform, write(tmp_path / "p", BRANCHES), size=size))
    assert run.state == "succeeded", run.error
    assert {step.name for step in run.steps if step.state == "skipped"} == skipped
    assert value(platform, run, "rows") == rows


def test_a_parameter_may_be_the_condition(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", "@treadle.step(when='deep')\ndef a(): return 1\n")
    run = settled(platform, start(platform, folder, deep=False))
    assert [step.state for step in run.steps] == ["skipped"]
    assert settled(platform, start(platform, folder, deep=True)).steps[0].state == "succeeded"


def test_only_some_steps_and_some_again(platform: Embedded, tmp_path: Path) -> None:
    folder = write(tmp_path / "p", REGIONS)
    settled(platform, start(platform, folder, names=["a"]))

    def started(**asked: Any) -> PipelineRun:
        before = platform.pipelines.find(limit=1)[0]
        return settled(
            platform,
            platform.pipelines.start(
                project="p",
                code=before.code,
                file="pipeline.py",
                datasets={},
                parameters={"names": ["a"]},
                **asked,
            ),
        )

    assert [step.name for step in started(only=["regions"]).steps] == ["regions"]
    again = started(fresh=["sales"])
    assert called(again, "sales") == ["sales[0]"]
    assert [step.cached for step in again.steps] == [True, False, False]
    with pytest.raises(NotFound, match=r"There is no step 'sale'.*Did you mean 'sales'\?"):
        started(only=["sale"])
    with pytest.raises(Invalid, match="'total' is not among those that run: regions"):
        started(only=["regions"], fresh=["total"])


@pytest.mark.parametrize(
    "code, parameters, says",
    [
        ("@treadle.step(map={'a': 'xs'})\ndef f(a): return a", {"xs": 7}, "which is no list: 7"),
        (
            "@treadle.step\ndef xs(): return 'ab'\n"
            "@treadle.step(map={'a': 'xs'})\ndef f(a): return a",
            {},
            "map of step 'xs', which is no list",
        ),
        (
            "@treadle.step(map={'a': 'xs'})\ndef f(a): return a",
            {"xs": list(range(MOST_ELEMENTS + 1))},
            "10,001 times",
        ),
        (
            "@treadle.step\ndef c(): return 'yes'\n@treadle.step(when='c')\ndef f(): return 1",
            {},
            "neither true nor false: 'yes'",
        ),
    ],
)
def test_what_cannot_be_mapped_or_decided_fails_in_a_sentence(
    platform: Embedded, tmp_path: Path, code: str, parameters: dict[str, Any], says: str
) -> None:
    run = settled(platform, start(platform, write(tmp_path / "p", code + "\n"), **parameters))
    assert run.state == "failed" and run.error and says in run.error


@pytest.mark.parametrize(
    "options, says",
    [
        ("map={'b': 'xs'}", "has a map of 'b', and no parameter so"),
        ("map={'a': 'nothing'}", "needs 'nothing', which is no step"),
        ("map='xs'", "It names a parameter, and what has its elements"),
        ("map={'a': 'xs', 'b': 'ys'}", "It names a parameter, and what has its elements"),
        ("map={'a': 'f'}", "need each other in a circle"),
        ("when='nothing'", "needs 'nothing', which is no step"),
        ("when='not'", "It names a step or parameter"),
        ("when='x > 1'", "It names a step or parameter"),
        ("when=True", "It names a step or parameter"),
    ],
)
def test_what_cannot_be_planned_is_refused_before_it_begins(options: str, says: str) -> None:
    code = f"@treadle.step({options})\ndef f(a=1): return a\n".encode()
    with pytest.raises(Invalid, match="(?s).*" + says.replace("'", ".")):
        plan(parse_steps(code, "pipeline.py"), given={"xs"})


@given(st.lists(st.one_of(st.integers(), st.text(), st.none(), st.booleans()), max_size=5))
def test_options_are_read_as_they_are_written(values: list[Any]) -> None:
    code = f"@treadle.step(map={{'a': 'xs'}}, retries={len(values)})\ndef f(a): return a\n"
    (found,) = parse_steps(code.encode(), "pipeline.py")
    assert found.sources == ["xs"] and found.options.retries == len(values)
    assert StepPlan(name="f", needs=found.needs).sources == ["a"]


def test_the_mark_takes_the_options_and_returns_the_function() -> None:
    @mark(map={"n": "numbers"}, when="numbers")
    def one(n: int) -> int:
        return n

    assert one(3) == 3 and json.dumps(one(4)) == "4"
