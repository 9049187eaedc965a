"""A third party's monitor is found by its entry point, asked, and its findings are recorded."""

import tomllib
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.monitoring.test_service import day, watched
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid
from treadle.kernel.plugins import registered
from treadle.monitoring import discovery
from treadle.monitoring.model import FindingRaised
from treadle.platform.wiring import Embedded
from treadle.ports.monitor import GROUP, Context, Finding, Needs
from treadle.testing.monitor import MonitorSuite, ordinary_window

Open = Callable[..., Embedded]
ROOT = Path(__file__).parents[2]
HERE = "tests.monitoring.test_strangers"
OWN = {"drift", "estimated-performance", "latency", "missing-labels", "performance", "staleness"}


def finding(context: Context, value: float, message: str = "Something is off.") -> Finding:
    return Finding(
        name="toy",
        subject="rows",
        value=value,
        threshold=0.0,
        since=context.window.start,
        message=message,
        raised=True,
        trigger="drift",
    )


class ErrorRate:
    """Raised when the champion fails a row in fifty."""

    name = "error-rate"
    needs = Needs()

    def look(self, context: Context) -> Sequence[Finding]:
        rate = context.window.errors / max(context.window.rows, 1)
        message = f"The champion failed {rate:.0%} of {context.window.rows} rows."
        return [replace(finding(context, rate, message), raised=rate >= 0.02)]


class Everything:
    """Tells how much it is given, once labels are due."""

    name = "everything"
    needs = Needs(reference=True, values=True, labels=True, windows=1)

    def look(self, context: Context) -> Sequence[Finding]:
        sizes = context.inputs.get("size", np.empty(0))
        given = [len(sizes), len(context.outputs), len(context.truth), len(context.earlier)]
        counted = sum(profile.rows for profile in context.current.values())
        return [finding(context, counted, f"Given {given}.")]


class Nothing:
    """Needs nothing, and says so if it is given something all the same."""

    name = "nothing"
    needs = Needs()

    def look(self, context: Context) -> Sequence[Finding]:
        given = [*context.reference, *context.inputs, *context.truth, *context.earlier]
        return [finding(context, 1.0)] if given else []


class Broken:
    name = "broken"
    needs = Needs()

    def look(self, context: Context) -> Sequence[Finding]:
        raise ZeroDivisionError("nobody asked")


class Vague:
    """Finds what is no number."""

    name = "vague"
    needs = Needs()

    def look(self, context: Context) -> Sequence[Finding]:
        return [finding(context, float("nan"))]


class TestErrorRate(MonitorSuite):
    backend = "toy"

    @pytest.fixture
    def monitor(self) -> ErrorRate:
        return ErrorRate()

    @pytest.fixture
    def alarming(self) -> Context:
        return ordinary_window(window=replace(ordinary_window().window, errors=30))


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Registers monitors of this module, or of anywhere, beside those that are installed."""

    def register(**values: str) -> None:
        more = [
            EntryPoint(name.replace("_", "-"), value or f"{HERE}:{name}", GROUP)
            for name, value in values.items()
        ]
        monkeypatch.setattr(
            discovery,
            "registered",
            lambda group: EntryPoints([*registered(group), *more]),
        )

    return register


def test_treadles_own_monitors_are_registered_as_pyproject_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = {entry.name: entry.value for entry in registered(GROUP)}
    assert installed == project["entry-points"][GROUP], "install Treadle again"
    assert {monitor.name for monitor in discovery.registered_monitors()} == OWN


def test_what_a_stranger_finds_is_an_event_with_its_trigger(open_home: Open, register: Any) -> None:
    register(error_rate=f"{HERE}:ErrorRate")
    desk = watched(open_home)
    desk.answer("champion", 10, error="ValueError: broke")
    day(desk, 190)
    desk.platform.monitoring.reconcile()
    desk.platform.monitoring.reconcile()
    (record,) = desk.events("FindingRaised")
    event = record.event()
    assert isinstance(event, FindingRaised)
    assert (event.monitor, event.endpoint, event.project) == ("error-rate", "p", "p")
    assert (event.value, event.trigger) == (0.05, "drift")
    assert event.message == "The champion failed 5% of 200 rows."
    assert record.subject == f"window:p/{event.start:%Y-%m-%dT%H:%M}"
    assert "version:p:1" in record.uses
    recent = desk.platform.loop.status(project="p").recent
    assert "FindingRaised" in [shown.type for shown in recent]


def test_a_stranger_is_given_what_it_needs_when_it_is_due(open_home: Open, register: Any) -> None:
    register(everything=f"{HERE}:Everything", nothing=f"{HERE}:Nothing")
    desk = watched(open_home, label_delay="1d")
    desk.label(dict.fromkeys(day(desk, 150), 1.0))
    desk.platform.monitoring.reconcile()
    assert desk.events("FindingRaised") == []
    desk.answer("champion", 5, error="ValueError: broke", inputs=[{"colour": "red", "size": 1}] * 5)
    day(desk, 120)
    desk.platform.monitoring.reconcile()
    desk.clock.advance(timedelta(days=1))
    desk.platform.monitoring.reconcile()
    first, second = (event.body for event in desk.events("FindingRaised"))
    assert (first["message"], first["value"]) == ("Given [150, 150, 150, 0].", 300.0)
    assert (second["message"], second["value"]) == ("Given [120, 120, 0, 1].", 250.0)


def test_a_stranger_that_fails_is_told_and_stops_nobody(open_home: Open, register: Any) -> None:
    register(
        broken=f"{HERE}:Broken", vague=f"{HERE}:Vague", gone="not_there:Monitor",
        other=f"{HERE}:ErrorRate",
    )  # fmt: skip
    desk = watched(open_home)
    day(desk, shift=2.0)
    assert desk.platform.monitoring.reconcile() == 2
    assert desk.platform.monitoring.reconcile() == 0
    assert desk.events("DriftFound")
    reasons = {
        event.body["monitor"]: event.body["reason"] for event in desk.events("MonitorFailed")
    }
    assert reasons == {
        "broken": "ZeroDivisionError: nobody asked",
        "gone": "The monitor 'gone' (not_there:Monitor) cannot be loaded: "
        "No module named 'not_there'",
        "other": f"The monitor 'other' ({HERE}:ErrorRate) cannot be loaded: "
        "it calls itself 'error-rate'",
        "vague": "Field 'value': Expected `float`, got `null`.",
    }


def test_two_monitors_of_one_name_are_refused(open_home: Open, register: Any) -> None:
    register(drift=f"{HERE}:ErrorRate")
    with pytest.raises(Invalid, match=r"Two monitors are registered as 'drift': .*Uninstall"):
        discovery.registered_monitors()
    register(drift="treadle.monitoring.monitors.drift:Drift")
    assert {monitor.name for monitor in discovery.registered_monitors()} == OWN


def test_metadata_without_monitors_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "registered", lambda _: EntryPoints())
    with pytest.raises(Invalid, match=r"No monitor is registered.*Install Treadle again\."):
        discovery.registered_monitors()
