"""What every monitor must do: find what is out of bounds, and nothing else, from what it needs."""

import math
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import numpy as np
import pytest

from treadle.data.profile import profile
from treadle.evaluation.calibration import Calibration, ScoreCurve
from treadle.kernel.entity import from_json, to_json
from treadle.ports.monitor import (
    Context,
    Finding,
    Monitor,
    Needs,
    Policy,
    Trigger,
    WindowFacts,
)
from treadle.scope.model import Requirement
from treadle.testing.suite import Suite

START = datetime(2026, 3, 2, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 1000


class MonitorSuite(Suite):
    """Checks a monitor.

    Give the fixtures ``monitor`` and ``alarming`` (a window in which it raises something, made of
    ``ordinary_window``). ``quiet`` is an ordinary day unless the monitor needs another.
    """

    port = "monitor"

    @pytest.fixture
    def monitor(self) -> Monitor:
        """The monitor under test."""
        raise TypeError("give the fixture 'monitor'")

    @pytest.fixture
    def alarming(self) -> Context:
        """A window in which the monitor raises something."""
        raise TypeError("give the fixture 'alarming': a window in which the monitor raises")

    @pytest.fixture
    def quiet(self) -> Context:
        """A window in which the monitor raises nothing."""
        return ordinary_window()

    def test_it_says_what_it_is_and_what_it_needs(self, monitor: Monitor) -> None:
        """It has a name and declares what it reads."""
        assert monitor.name
        assert isinstance(monitor.needs, Needs)
        assert monitor.needs.windows >= 0

    def test_nothing_is_raised_in_a_quiet_window(self, monitor: Monitor, quiet: Context) -> None:
        """A quiet window, narrowed to what it needs, gives no raised finding."""
        assert raised(monitor, quiet.narrowed(monitor.needs)) == []

    def test_what_it_needs_is_enough_to_raise(self, monitor: Monitor, alarming: Context) -> None:
        """A window narrowed to what it needs gives the same raised findings as the whole."""
        findings = raised(monitor, alarming.narrowed(monitor.needs))
        assert findings
        assert findings == raised(monitor, alarming)

    def test_what_is_raised_can_be_read_and_acted_on(
        self, monitor: Monitor, alarming: Context
    ) -> None:
        """A raised finding has a name, a subject, a sentence and a time, and no unknown trigger."""
        for finding in raised(monitor, alarming.narrowed(monitor.needs)):
            assert finding.name
            assert finding.subject
            assert finding.message.endswith(".")
            assert finding.since.tzinfo is not None
            assert finding.since <= alarming.window.end
            assert finding.trigger is None or finding.trigger in get_args(Trigger)

    def test_findings_can_be_stored(self, monitor: Monitor, alarming: Context) -> None:
        """A finding has a finite value and survives JSON."""
        for finding in monitor.look(alarming.narrowed(monitor.needs)):
            assert math.isfinite(finding.value)
            assert from_json(to_json(finding), Finding) == finding

    def test_the_same_window_gives_the_same_findings_and_stays_as_it_is(
        self, monitor: Monitor, alarming: Context
    ) -> None:
        """Looking twice gives equal findings and changes nothing in the window."""
        context = alarming.narrowed(monitor.needs)
        before = deepcopy(context)
        assert list(monitor.look(context)) == list(monitor.look(context))
        for array in ("truth", "score", "outputs"):
            np.testing.assert_array_equal(getattr(context, array), getattr(before, array))
        for column, values in before.inputs.items():
            np.testing.assert_array_equal(context.inputs[column], values)
        assert context.window == before.window

    def test_a_window_without_rows_is_looked_at(self, monitor: Monitor) -> None:
        """A window in which nobody asked anything raises no error."""
        for finding in monitor.look(empty_window()):
            assert math.isfinite(finding.value)


def raised(monitor: Monitor, context: Context) -> list[Finding]:
    """What a monitor finds out of bounds.

    Args:
        monitor: The monitor.
        context: The window that it looks at.
    """
    return [finding for finding in monitor.look(context) if finding.raised]


def ordinary_window(**changes: Any) -> Context:
    """A day of 1,000 answers of a good model to rows like those of its training.

    The inputs are ``size``, a normal number, and ``colour``, one of three. Labels have come for
    all rows, probabilities are as they say, the requirements are met, and fourteen days before
    were alike.

    Args:
        **changes: Fields of the context that are to be otherwise.
    """
    training, today = _rows(seed=1), _rows(seed=2)
    reference = {name: profile(values) for name, values in training.items()}
    random = np.random.default_rng(3)
    outputs = random.random(ROWS)
    prediction = profile(random.random(ROWS))
    window = _facts(START)
    context = Context(
        endpoint="p",
        project="p",
        window=window,
        policy=Policy(labelled=True, older_than=30 * DAY),
        requirements=[
            Requirement(id="R1", metric="roc_auc", at_least=0.6),
            Requirement(id="R2", metric="latency_ms.p99", at_most=50),
        ],
        version_created_at=START - 15 * DAY,
        champion_rows=ROWS,
        reference=reference,
        current={name: counted.count(today[name]) for name, counted in reference.items()},
        reference_prediction=prediction,
        current_prediction=prediction.count(outputs),
        inputs=today,
        outputs=outputs.astype(np.float32),
        calibration=Calibration(rows=ROWS, curves=[ScoreCurve()]),
        truth=(random.random(ROWS) < outputs).astype(np.float64),
        score=outputs,
        earlier=[_facts(START - days * DAY) for days in range(1, 15)],
    )
    return replace(context, **changes)


def empty_window() -> Context:
    """A day on which nobody asked anything, of an endpoint that was just made."""
    window = WindowFacts(
        start=START, end=START + DAY, version="p:1", rows=0, errors=0, latency_ms_p99=0.0
    )
    return Context(endpoint="p", project="p", window=window)


def _rows(seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    colours = np.array(["red", "green", "blue"], dtype=object)
    return {"size": random.normal(size=ROWS), "colour": colours[random.integers(0, 3, ROWS)]}


def _facts(start: datetime) -> WindowFacts:
    return WindowFacts(
        start=start,
        end=start + DAY,
        version="p:1",
        rows=ROWS,
        errors=0,
        latency_ms_p99=20.0,
        psi={"size": 0.01, "colour": 0.01, "prediction": 0.01},
        metrics={"roc_auc": 0.8},
    )
