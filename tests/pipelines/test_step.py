"""Steps are found by reading, and put in an order that their needs allow."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Invalid, NotFound, TreadleError
from treadle.pipelines.step import (
    DEFAULT_SEED,
    Need,
    StepPlan,
    defaults_of,
    load_steps,
    plan,
    read_steps,
)
from treadle.pipelines.step_options import LONGEST, StepOptions


def step(name: str, *needs: str, optional: tuple[str, ...] = ()) -> StepPlan:
    required = [Need(name=need, optional=False) for need in needs]
    return StepPlan(
        name=name, needs=required + [Need(name=need, optional=True) for need in optional]
    )


def file_of(folder: Path, text: str) -> Path:
    file = folder / "pipeline.py"
    file.write_text(text, encoding="utf-8")
    return file


def test_reading_steps_never_runs_the_file(tmp_path: Path) -> None:
    trap = "open(__file__ + '.ran', 'w').close()\nraise SystemExit('ran')\n"
    decorated = "def evil(f):\n    raise SystemExit('ran')\n@evil\n@treadle.step\ndef a(): ...\n"
    file = file_of(tmp_path, f"import treadle\n{trap}{decorated}")
    assert [found.name for found in read_steps(file)] == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["pipeline.py"]


def test_both_spellings_of_the_mark_are_found_and_nothing_else(tmp_path: Path) -> None:
    marked = "@step\ndef a(): ...\n@treadle.step\ndef b(): ...\n"
    unmarked = "def c(): ...\n@cache\ndef d(): ...\nclass E:\n    @step\n    def f(self): ...\n"
    found = read_steps(file_of(tmp_path, marked + unmarked))
    assert [each.name for each in found] == ["a", "b"]


def test_reading_finds_the_steps_that_importing_finds(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        "import treadle\n@treadle.step\ndef a(x): ...\ndef b(): ...\n@treadle.step\ndef c(): ...\n",
    )
    assert [found.name for found in read_steps(file)] == list(load_steps(file)) == ["a", "c"]


def test_a_parameter_with_a_default_is_optional_wherever_it_stands(tmp_path: Path) -> None:
    (found,) = read_steps(file_of(tmp_path, "@step\ndef a(p, /, q, r=1, *, s, t=None): ...\n"))
    assert {need.name: need.optional for need in found.needs} == {
        "p": False,
        "q": False,
        "r": True,
        "s": False,
        "t": True,
    }
    defaults = {need.name: need.default for need in found.needs}
    assert defaults == {"p": None, "q": None, "r": "1", "s": None, "t": "None"}


def test_defaults_that_a_run_takes_are_known_without_running_code(tmp_path: Path) -> None:
    code = (
        "@step(map={'n': 'ns'})\ndef a(rows, n=1, depth=3, rate=-0.5, kind='x', seed=9): ...\n"
        "@step\ndef b(a=None, made=open, asof=None): ...\n"
    )
    steps = read_steps(file_of(tmp_path, code))
    assert defaults_of(steps, {"rows", "ns", "kind"}) == {
        "depth": "3",
        "rate": "-0.5",
        "seed": str(DEFAULT_SEED),
    }
    assert "seed" not in defaults_of(steps, {"seed"})
    unclear = f"@step\ndef a(x=1, y='{'z' * 900}', z='\\0'): ...\n@step\ndef b(x=2): ...\n"
    assert defaults_of(read_steps(file_of(tmp_path, unclear)), set()) == {}


def test_a_file_that_is_not_there_is_named_with_the_place_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        NotFound, match=r"no pipeline file '.*absent\.py'.*treadle\.toml under \[pipeline\] file"
    ):
        read_steps(tmp_path / "absent.py")


def test_a_syntax_error_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"pipeline\.py, line 2: "):
        read_steps(file_of(tmp_path, "x = 1\ndef broken(:\n"))


def test_a_file_without_steps_says_how_to_mark_one(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"has no steps\. Mark its functions with @treadle\.step"):
        read_steps(file_of(tmp_path, "def a(): ...\n"))


@pytest.mark.parametrize("content", [b"# caf\xe9\n", b"a\x00b", b"\xff\xfe"])
def test_a_file_that_is_no_python_text_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "pipeline.py").write_bytes(content)
    with pytest.raises(Invalid, match=r"pipeline\.py"):
        read_steps(tmp_path / "pipeline.py")


def test_a_folder_is_no_pipeline_file(tmp_path: Path) -> None:
    with pytest.raises(TreadleError, match=tmp_path.name):
        read_steps(tmp_path)


def test_an_unknown_need_names_the_step_and_the_near_miss() -> None:
    with pytest.raises(
        Invalid, match=r"Step 'model' needs 'tabel', which is no step.*Did you mean 'table'\?"
    ):
        plan([step("table"), step("model", "tabel")], given=set())


def test_an_optional_need_may_be_unknown() -> None:
    assert [found.name for found in plan([step("a", optional=("nowhere",))], given=set())] == ["a"]


def test_an_optional_need_that_is_a_step_is_waited_for() -> None:
    assert [found.name for found in plan([step("b", optional=("a",)), step("a")], given=set())] == [
        "a",
        "b",
    ]


def test_datasets_parameters_and_built_ins_are_known() -> None:
    assert len(plan([step("a", "rows", "depth", "asof", "seed")], given={"rows", "depth"})) == 1


def test_a_circle_is_told_step_by_step() -> None:
    with pytest.raises(
        Invalid, match=r"need each other in a circle: \w+ → \w+ → \w+ → \w+\."
    ) as caught:
        plan([step("a", "c"), step("b", "a"), step("c", "b"), step("d")], given=set())
    assert {"a", "b", "c"} <= set(str(caught.value).rpartition(": ")[2].rstrip(".").split(" → "))


def test_a_step_cannot_need_itself() -> None:
    with pytest.raises(Invalid, match="a → a"):
        plan([step("a", "a")], given=set())


@st.composite
def acyclic(draw: st.DrawFn) -> list[StepPlan]:
    """Steps that need only steps of a lower number, in any order of writing."""
    count = draw(st.integers(1, 12))
    steps = []
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1))) if number else set[int]()
        soft = draw(st.sets(st.sampled_from(sorted(needs)))) if needs else set[int]()
        hard = sorted(f"s{n}" for n in needs - soft)
        steps.append(step(f"s{number}", *hard, optional=tuple(sorted(f"s{n}" for n in soft))))
    return list(draw(st.permutations(steps)))


@given(acyclic())
def test_every_step_comes_once_and_after_all_it_needs(steps: list[StepPlan]) -> None:
    done: set[str] = set()
    for found in plan(steps, given=set()):
        assert {need.name for need in found.needs} <= done
        assert found.name not in done
        done.add(found.name)
    assert done == {each.name for each in steps}


@given(acyclic(), st.data())
def test_closing_a_circle_in_any_graph_is_refused(
    steps: list[StepPlan], data: st.DataObject
) -> None:
    needing = [each for each in steps if each.needs]
    if not needing:
        return
    upper = data.draw(st.sampled_from(needing))
    lower = next(each for each in steps if each.name == upper.needs[0].name)
    closed = StepPlan(name=lower.name, needs=[*lower.needs, Need(name=upper.name, optional=False)])
    with pytest.raises(Invalid, match="circle"):
        plan([closed if each is lower else each for each in steps], given=set())


def test_options_of_a_step_are_read_without_running_it(tmp_path: Path) -> None:
    text = (
        '@treadle.step(retries=2, backoff="1m", timeout="2h", memory_gb=1.5)\ndef a(): ...\n'
        "@step()\ndef b(): ...\n@treadle.step\ndef c(): ...\n"
    )
    file = file_of(tmp_path, f"import treadle\nfrom treadle import step\n{text}")
    a, b, c = (found.options for found in read_steps(file))
    assert a == StepOptions(
        retries=2, backoff_seconds=60.0, timeout_seconds=7200.0, memory_bytes=3 * 2**29
    )
    assert b == c == StepOptions()
    assert set(load_steps(file)) == {"a", "b", "c"}
    assert [a.pause(tries).total_seconds() for tries in (1, 2, 3)] == [60.0, 120.0, 240.0]
    assert a.pause(10**6) == LONGEST


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("retry=2", "Did you mean 'retries'"),
        ("retries=-1", "from 0 to 100"),
        ("retries=True", "from 0 to 100"),
        ("retries=MANY", "without running the file"),
        ("2", "by name"),
        ("**OPTIONS", "no option"),
        ('timeout="soon"', "not a duration"),
        ('timeout="0s"', "longer than nothing"),
        ("timeout=30", "a duration such as"),
        ('backoff="99999d"', "at most 30 days"),
        ("memory_gb=0", "number of gigabytes"),
        ("memory_gb=1e999", "number of gigabytes"),
        (f"memory_gb=1{'0' * 400}", "number of gigabytes"),
        ("memory_gb=1e-12", "number of gigabytes"),
        ('memory_gb="4"', "number of gigabytes"),
    ],
)
def test_options_that_cannot_be_are_refused_with_their_line(
    tmp_path: Path, call: str, says: str
) -> None:
    file = file_of(tmp_path, f"import treadle\n@treadle.step({call})\ndef a(): ...\n")
    with pytest.raises(Invalid, match=r"Line 2: @treadle.step of 'a'") as refused:
        read_steps(file)
    assert says in refused.value.message
