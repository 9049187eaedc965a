from typing import Annotated

import pytest

from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.operation import ROLES, Names, command, operations, query


class Loaf(Entity):
    flour: str
    grams: int = 500


class Bakery:
    """Bakes."""

    @command(role="approver")
    def bake(self, *, loaf: Loaf, count: int = 1, note: str | None = None) -> list[Loaf]:
        """Bake loaves.

        Takes its time.
        """
        return [loaf] * count

    @query()
    def shelf(self, *, limit: int = 10, warm: bool = False) -> int:
        """What is there."""
        return limit

    def sweep(self) -> None:
        """No operation: it is not marked."""


BAKE, SHELF = operations(Bakery).values()


def test_only_marked_methods_are_operations_in_the_order_written() -> None:
    assert list(operations(Bakery)) == ["bake", "shelf"]


def test_an_operation_describes_itself() -> None:
    assert (BAKE.name, BAKE.kind, BAKE.method, BAKE.role) == ("bake", "command", "POST", "approver")
    assert (SHELF.kind, SHELF.method, SHELF.role) == ("query", "GET", "viewer")
    assert BAKE.doc == "Bake loaves.\n\nTakes its time."
    assert BAKE.result == list[Loaf]


def test_a_marked_method_is_called_as_any_other() -> None:
    assert Bakery().bake(loaf=Loaf(flour="rye"), count=2) == [Loaf(flour="rye")] * 2


def test_what_is_not_given_is_the_default() -> None:
    assert BAKE.bind({"loaf": {"flour": "rye"}}) == {
        "loaf": Loaf(flour="rye"),
        "count": 1,
        "note": None,
    }
    assert SHELF.bind({}) == {"limit": 10, "warm": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Field 'loaf' is missing."),
        ({"loaf": {"flour": "rye"}, "cuont": 2}, "Unknown field 'cuont'. Did you mean 'count'?"),
        (
            {"loaf": {"flour": "rye", "gramms": 2}},
            "Unknown field 'loaf.gramms'. Did you mean 'grams'?",
        ),
        ({"loaf": {"flour": "rye"}, "count": "2"}, "Field 'count': Expected `int`, got `str`."),
        ({"loaf": {"flour": "rye"}, "count": True}, "Field 'count': Expected `int`, got `bool`."),
        ({"loaf": {"flour": "rye"}, "count": None}, "Field 'count': Expected `int`, got `null`."),
        ({"loaf": {"grams": 1}}, "Field 'loaf.flour' is missing."),
        ({"loaf": "rye"}, "Field 'loaf': Expected `object`, got `str`."),
        ({"self": 1, "loaf": {"flour": "rye"}}, "Unknown field 'self'. Known: count, loaf, note."),
    ],
)
def test_a_wrong_argument_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        BAKE.bind(given)
    assert refused.value.message == message


def test_arguments_of_an_address_are_read_out_of_text() -> None:
    assert SHELF.bind({"limit": "7", "warm": "true"}, strict=False) == {"limit": 7, "warm": True}
    with pytest.raises(Invalid, match="Field 'limit': Expected `int`, got `str`"):
        SHELF.bind({"limit": "seven"}, strict=False)


def test_roles_are_in_order_of_what_they_may_do() -> None:
    assert ROLES == ("viewer", "editor", "approver", "admin")


class Branch(Entity):
    leaf: Annotated[str, Names("leaf")]
    branches: list["Branch"] = []


class Forest:
    @command()
    def plant(self, *, trees: list[Branch], owner: Annotated[str, Names("person")] = "") -> None:
        """Plant trees."""


def test_what_is_named_is_found_in_lists_and_in_what_holds_itself() -> None:
    (plant,) = operations(Forest).values()
    tree = Branch(leaf="a", branches=[Branch(leaf="b")])
    named = list(plant.named({"trees": [tree], "owner": "ada"}))
    assert [(one.kind, one.value) for one in named] == [
        ("leaf", "a"),
        ("leaf", "b"),
        ("person", "ada"),
    ]
