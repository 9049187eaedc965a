"""What ``import treadle`` gives, by name. The reference of each is checked in tests/docs."""

import inspect

import pytest

import treadle


def test_all_names_what_is_public() -> None:
    assert treadle.__all__ == sorted(treadle.__all__)
    assert set(treadle.__all__) == set(treadle._HOMES)
    assert set(dir(treadle)) == set(treadle.__all__)


@pytest.mark.parametrize("name", treadle.__all__)
def test_each_public_name_is_where_it_is_said_to_be(name: str) -> None:
    value = getattr(treadle, name)
    assert inspect.unwrap(value).__module__ == treadle._HOMES[name]
    assert inspect.getdoc(value)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        treadle.nothing  # noqa: B018
