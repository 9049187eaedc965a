"""Whatever is written in ``treadle.toml``: it is read, or refused in a sentence."""

from datetime import timedelta

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from tests.scope.within import within
from treadle.kernel.clock import duration
from treadle.kernel.entity import from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.scope.file import parse
from treadle.scope.lines import line_of
from treadle.scope.model import ProjectSpec

HEADERS = [
    "[project]",
    "[data.d]",
    "[data]",
    "[[requirement]]",
    "[pipeline]",
    "[pipeline.parameters]",
    "[rollout]",
]
HEADERS += ["[retrain]", "[monitoring]", "[data.'a.b']", "[strange]"]
KEYS = [
    "name",
    "source",
    "label",
    "label_delay",
    "id",
    "metric",
    "at_least",
    "at_most",
    "file",
    "steps",
    "hold",
]
KEYS += [
    "when",
    "cooldown",
    "window",
    "min_labels",
    "effect",
    "risk",
    "approve",
    "'a]'",
    "a.b",
    '"["',
    "requirement",
]
VALUES = [
    '"p"',
    '"1d"',
    '"10%"',
    '["shadow", "100%"]',
    '["drift"]',
    '["0 3 * * 1"]',
    "1",
    "0.5",
    "true",
    "inf",
]
VALUES += ["{}", "[]", "[[]]", "{a = 1}", "2020-01-01", '""', '"low"', '["production"]']

FIND = (Phase.explicit, Phase.generate)  # a loop without end is not made shorter by trying it again

lines = st.sampled_from(HEADERS) | st.builds(
    "{} = {}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)
)
texts = st.lists(lines, max_size=12).map("\n".join)


@settings(max_examples=300, deadline=None, phases=FIND)
@given(st.text() | texts | texts.map('[project]\nname = "p"\n{}'.format))
@example("x = " + "1" * 5_000)
@example("x = " + "[" * 5_000)
@example('[project]\nname = "p"\n[retrain]\nwhen = ["' + "1" * 5_000 + ' * * * *"]')
@example('[project]\nname = "p"\n[data.d]\nlabel = "y"')
@example('[project]\nname = "p"\n[pipeline.parameters]\nrate = inf')
def test_any_text_is_a_project_or_is_refused_in_a_sentence(text: str) -> None:
    try:
        with within(2):
            spec = parse(text)
    except Invalid as error:
        assert error.message.startswith("treadle.toml")
        assert error.message.endswith((".", "?"))
    else:
        assert from_json(to_json(spec), ProjectSpec) == spec
        assert all(requirement.bound for requirement in spec.requirement)


@settings(deadline=None, phases=FIND)
@given(texts, st.text(alphabet="ab.[]01'", max_size=8))
def test_looking_for_a_line_always_ends_within_the_text(text: str, path: str) -> None:
    with within(2):
        found = line_of(text, path)
    assert found is None or 1 <= found <= len(text.splitlines())


@given(st.text())
@example("9" * 400 + "d")
@example("99999999999999d")
def test_any_text_is_a_duration_or_is_refused(text: str) -> None:
    try:
        assert duration(text) >= timedelta(0)
    except Invalid as error:
        assert text in error.message


@given(st.integers(0, 10_000), st.sampled_from("smhdw"))
def test_a_duration_is_a_number_and_a_unit(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[unit]
    assert duration(f" {number}{unit} ").total_seconds() == number * seconds
    assert duration(f"{number}.5 {unit}") == timedelta(seconds=(number + 0.5) * seconds)
