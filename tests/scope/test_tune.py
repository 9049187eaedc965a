"""``[tune]`` is checked, and values are written into a project file without changing the rest."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.kernel.errors import Conflict, Invalid
from treadle.ports.tuner import Bound, Range
from treadle.scope.file import parse
from treadle.scope.parameters import with_parameters

START = '[project]\nname = "p"\n\n'


def test_a_space_tells_whole_numbers_by_how_they_are_written() -> None:
    spec = parse(
        START + "[tune.space]\n"
        "depth = { low = 2, high = 8, step = 2 }\n"
        "rate = { low = 0.0, high = 1 }\n"
        'kind = ["a", "b"]\n'
    )
    assert spec.tune is not None
    depth, rate = spec.tune.space["depth"], spec.tune.space["rate"]
    assert isinstance(depth, Range) and depth.is_whole
    assert isinstance(rate, Range) and not rate.is_whole
    assert spec.tune.space["kind"] == ["a", "b"]
    metrics = ["roc_auc", "latency_ms", "cost_fp1_fn20", "recall_at_2%"]
    assert spec.tune.directions(metrics) == ["maximize", "minimize", "minimize", "maximize"]


def test_a_metric_with_a_number_in_its_name_can_be_optimised() -> None:
    table = '[tune]\nmetric = "cost_fp1_fn20"\nconstraint = { "recall_above_0.1" = ">= 0.8" }\n'
    spec = parse(START + table + "[tune.space]\nx = [1]\n")
    assert spec.tune is not None
    assert spec.tune.metrics == ["cost_fp1_fn20"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[tune.space]\n", "there is no parameter to search over"),
        ('[tune]\nmetric = "aoc"\n[tune.space]\nx = [1]\n', "nothing measures 'aoc'"),
        ('[tune]\nmetric = "precision_at_K"\n[tune.space]\nx = [1]\n', "'precision_at_2%'"),
        ("[tune]\ntrials = 0\n[tune.space]\nx = [1]\n", "'tune.trials': 0 is less than 1"),
        ('[tune]\nspace = {x = [1]}\nconstraint = {size_mb = "5"}\n', "'5' is no bound"),
        ('[tune]\nspace = {x = [1]}\ndirection = ["minimize", "maximize"]\n', "2 directions"),
    ],
)
def test_what_is_wrong_with_a_search_is_said(table: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse(START + table)


@pytest.mark.parametrize(
    ("text", "most", "least"),
    [("<= 5", 5, None), (">= .5", None, 0.5), ("≥-1.e2", None, -100), ("≤ +3", 3, None)],
)
def test_a_bound_is_read_alike_where_it_is_checked_and_where_it_is_used(
    text: str, most: float | None, least: float | None
) -> None:
    assert Bound.read(text, "x") == Bound(at_most=most, at_least=least)
    table = f'[tune]\nspace = {{x = [1]}}\nconstraint = {{size_mb = "{text}"}}\n'
    assert parse(START + table).tune is not None


@pytest.mark.parametrize("text", ["5", "<= ", "<= 1e", "<= .", "<= nan", "<= --1", "< 3"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"Field 'x': .* is no bound\. Write one such as '<= 5'"):
        Bound.read(text, "x")


VALUES = st.dictionaries(
    st.from_regex(r"[a-z][a-z_]{0,5}", fullmatch=True),
    st.one_of(
        st.integers(-(10**9), 10**9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=5),
    ),
    min_size=1,
    max_size=4,
)
FILES = (
    START,
    START + '[pipeline]\nfile = "a.py"\n\n[serving]\nreplicas = 2\n',
    START + "[pipeline.parameters]\na = 1   # one\n# two\nbb = 'x'\n\n[serving]\nreplicas = 2\n",
)


@given(st.sampled_from(FILES), VALUES)
def test_values_come_into_the_file_and_everything_else_stays(
    tmp_path_factory: pytest.TempPathFactory, text: str, values: dict[str, Any]
) -> None:
    file = tmp_path_factory.mktemp("toml") / "treadle.toml"
    file.write_text(text)
    with_parameters(file, values)
    wanted = tomllib.loads(text)
    pipeline = wanted.setdefault("pipeline", {})
    pipeline["parameters"] = {**pipeline.get("parameters", {}), **values}
    assert tomllib.loads(file.read_text()) == wanted
    assert ("# two" in file.read_text()) == ("# two" in text)


def test_parameters_that_are_written_inline_are_shown_instead(tmp_path: Path) -> None:
    file = tmp_path / "treadle.toml"
    text = START + "[pipeline]\nparameters = { a = 1 }\n"
    file.write_text(text)
    with pytest.raises(Conflict, match=r"cannot be changed here.*a = 2"):
        with_parameters(file, {"a": 2})
    assert file.read_text() == text
