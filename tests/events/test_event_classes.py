"""Event classes: one of each name, and each says what it is about and whose it is."""

import importlib
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import treadle.platform.wiring  # noqa: F401 - defines every event
from treadle.access.model import RoleGranted, RoleTaken, TokenCreated
from treadle.kernel.event import Event


def define(module: str, name: str) -> type[Event]:
    """A new event class as if a module had defined it."""
    body = {"__module__": module, "__qualname__": name, "__annotations__": {"name": str}}
    return types.new_class(name, (Event,), exec_body=lambda space: space.update(body))


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of the registry, so that no class of these tests stays in it."""
    monkeypatch.setattr(Event, "registry", dict(Event.registry))


def test_two_events_of_one_name_are_refused_and_both_are_named() -> None:
    first = define("bakery.model", "CakeBaked")
    with pytest.raises(
        TypeError,
        match=r"'CakeBaked': bakery\.model\.CakeBaked and kitchen\.model\.CakeBaked\..*rename one",
    ):
        define("kitchen.model", "CakeBaked")
    assert Event.registry["CakeBaked"] is first


def test_a_class_that_is_defined_again_in_its_place_replaces_itself() -> None:
    define("bakery.model", "CakeBaked")
    again = define("bakery.model", "CakeBaked")
    assert Event.registry["CakeBaked"] is again


def test_a_module_can_be_reloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from treadle.kernel.event import Event\nclass BreadSold(Event):\n    name: str\n"
    (tmp_path / "bakery_that_is_reloaded.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("bakery_that_is_reloaded")
    before = Event.registry["BreadSold"]
    importlib.reload(module)
    assert Event.registry["BreadSold"] is module.BreadSold is not before


def test_bases_of_events_are_not_registered_and_may_share_a_name() -> None:
    define("bakery.model", "_OvenEvent")
    define("kitchen.model", "_OvenEvent")
    assert not [name for name in Event.registry if name.startswith("_")]


def test_an_event_that_does_not_say_its_project_cannot_be_written() -> None:
    kind: Callable[..., Event] = define("bakery.model", "CakeBaked")
    event = kind(name="rye")
    with pytest.raises(
        TypeError, match="CakeBaked must say which project it belongs to: give it a field 'project'"
    ):
        _ = event.belongs_to


def test_every_event_says_its_project() -> None:
    silent = [
        name
        for name, kind in Event.registry.items()
        if kind.__module__.startswith("treadle.")
        and "project" not in kind.__struct_fields__
        and kind.belongs_to is Event.belongs_to
    ]
    assert "RolloutPromoted" in Event.registry
    assert silent == []


@pytest.mark.parametrize("project, belongs_to", [("p", "p"), ("*", None)])
def test_a_role_in_every_project_belongs_to_none(project: str, belongs_to: str | None) -> None:
    assert RoleGranted(user="ada", role="viewer", project=project).belongs_to == belongs_to
    assert RoleTaken(user="ada", project=project).belongs_to == belongs_to
    assert TokenCreated(name="laptop", user="ada").belongs_to is None
