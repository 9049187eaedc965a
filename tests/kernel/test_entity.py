from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.kernel.entity import Entity, from_json, from_plain, replace, to_json, to_plain
from treadle.kernel.errors import Invalid


class Spoke(Entity):
    name: str
    length: int = 1


class Wheel(Entity):
    hub: Spoke
    spokes: list[Spoke] = []
    named: dict[str, Spoke] = {}
    spare: Spoke | None = None
    deep: dict[str, list[Spoke]] = {}
    sets: list[dict[str, Spoke]] | None = None
    colour: Literal["red", "green"] = "red"
    at: datetime | None = None


HUB = {"hub": {"name": "h"}}

spokes = st.builds(Spoke, name=st.text(), length=st.integers(-(2**63), 2**63 - 1))
wheels = st.builds(
    Wheel,
    hub=spokes,
    spokes=st.lists(spokes, max_size=3),
    named=st.dictionaries(st.text(), spokes, max_size=3),
    spare=st.none() | spokes,
    deep=st.dictionaries(st.text(), st.lists(spokes, max_size=2), max_size=2),
    colour=st.sampled_from(["red", "green"]),
    at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"hbu": {}}, "Unknown field 'hbu'. Did you mean 'hub'?"),
        ({"hub": {"nam": "h"}}, "Unknown field 'hub.nam'. Did you mean 'name'?"),
        ({"hub": {"zzz": "h"}}, "Unknown field 'hub.zzz'. Known: length, name."),
        (
            {**HUB, "spokes": [{"name": "a"}, {"name": "b", "lenth": 1}]},
            "Unknown field 'spokes[1].lenth'. Did you mean 'length'?",
        ),
        ({**HUB, "spare": {"nmae": "x"}}, "Unknown field 'spare.nmae'. Did you mean 'name'?"),
        ({"hub": {}}, "Field 'hub.name' is missing."),
        ({}, "Field 'hub' is missing."),
        (
            {**HUB, "spokes": [{"name": "a", "length": "long"}]},
            "Field 'spokes[0].length': Expected `int`, got `str`.",
        ),
        ({**HUB, "spokes": {}}, "Field 'spokes': Expected `array`, got `object`."),
        ({**HUB, "colour": "blue"}, "Field 'colour': there is no 'blue'. Known: green, red."),
        ([], "Expected `object`, got `array`."),
    ],
)
def test_an_error_names_the_field_and_the_near_miss(plain: object, message: str) -> None:
    with pytest.raises(Invalid) as from_text:
        from_json(to_json(plain), Wheel)
    with pytest.raises(Invalid) as from_value:
        from_plain(plain, Wheel)
    assert from_text.value.message == from_value.value.message == message


@pytest.mark.parametrize(
    "plain",
    [
        {**HUB, "named": {"a": {"name": "x", "lenth": 1}}},
        {**HUB, "deep": {"a": [{"name": "x", "lenth": 1}]}},
        {**HUB, "sets": [{"a": {"name": "x", "lenth": 1}}]},
    ],
)
def test_the_near_miss_is_found_below_lists_and_mappings(plain: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match=r"Unknown field '.*lenth'\. Did you mean 'length'\?"):
        from_plain(plain, Wheel)


def test_a_value_that_looks_like_a_path_does_not_mislead() -> None:
    with pytest.raises(Invalid, match=r"Field 'colour': there is no 'x - at"):
        from_plain({**HUB, "colour": "x - at `$.hub"}, Wheel)


def test_malformed_json_says_so() -> None:
    with pytest.raises(Invalid, match="malformed"):
        from_json(b"{'name': 1}", Spoke)


@given(st.binary() | st.text())
@example(b'"\xff"')
@example(b'{"name": "\xff"}')
@example(b"[" * 100_000)
@example(b"9" * 5_000)
@example('"\\ud800"')
def test_whatever_comes_from_outside_raises_nothing_but_invalid(data: bytes | str) -> None:
    for kind in (object, Wheel, dict[str, Any]):
        try:
            from_json(data, kind)
        except Invalid as error:
            assert error.message.endswith((".", "?"))


@given(wheels)
def test_what_is_written_is_read_back(wheel: Wheel) -> None:
    assert from_json(to_json(wheel), Wheel) == wheel
    assert from_plain(to_plain(wheel), Wheel) == wheel


@given(st.dictionaries(st.text(), st.integers(-(2**53), 2**53), min_size=2))
def test_the_same_value_gives_the_same_bytes(value: dict[str, int]) -> None:
    assert to_json(value) == to_json(dict(reversed(value.items())))


def test_an_entity_cannot_be_changed_only_replaced() -> None:
    spoke = Spoke(name="a")
    with pytest.raises(AttributeError):
        spoke.name = "b"  # type: ignore[misc]
    assert replace(spoke, name="b") == Spoke(name="b")
    assert spoke.name == "a"


def test_text_is_a_number_only_where_it_is_asked_for() -> None:
    with pytest.raises(Invalid, match="Field 'length': Expected `int`, got `str`"):
        from_plain({"name": "a", "length": "7"}, Spoke)
    assert from_plain({"name": "a", "length": "7"}, Spoke, strict=False) == Spoke(
        name="a", length=7
    )
