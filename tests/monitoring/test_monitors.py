"""Treadle's own monitors do what every monitor must do."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from treadle.kernel.entity import replace as changed
from treadle.monitoring.monitors.drift import Drift
from treadle.monitoring.monitors.latency import Latency
from treadle.monitoring.monitors.missing_labels import MissingLabels
from treadle.monitoring.monitors.performance import Performance
from treadle.monitoring.monitors.staleness import Staleness
from treadle.ports.monitor import Context, Monitor
from treadle.testing.monitor import DAY, START, MonitorSuite, ordinary_window, raised


class TestDrift(MonitorSuite):
    backend = "drift"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return Drift()

    @pytest.fixture
    def alarming(self) -> Context:
        ordinary = ordinary_window()
        moved = ordinary.reference["size"].count(ordinary.inputs["size"] + 2)  # type: ignore[attr-defined]
        return replace(ordinary, current={**ordinary.current, "size": moved})

    def test_every_column_is_measured_and_the_moved_one_raised(self, alarming: Context) -> None:
        findings = {finding.subject: finding for finding in Drift().look(alarming)}
        assert set(findings) == {"size", "colour", "prediction"}
        assert [name for name, finding in findings.items() if finding.raised] == ["size"]
        assert findings["size"].message.startswith("'size' has moved: PSI ")
        assert findings["prediction"].message.startswith("The predictions have not moved: PSI ")

    def test_few_rows_say_nothing(self, alarming: Context) -> None:
        assert Drift().look(replace(alarming, champion_rows=99)) == []


class TestLatency(MonitorSuite):
    backend = "latency"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return Latency()

    @pytest.fixture
    def alarming(self) -> Context:
        ordinary = ordinary_window()
        return replace(ordinary, window=changed(ordinary.window, latency_ms_p99=70.0))

    def test_the_message_names_the_bound(self, alarming: Context) -> None:
        (finding,) = raised(Latency(), alarming)
        assert finding.message == "latency_ms.p99 is 70 ms; required is latency_ms.p99 ≤ 50."
        assert finding.trigger is None


class TestPerformance(MonitorSuite):
    backend = "performance"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return Performance()

    @pytest.fixture
    def alarming(self) -> Context:
        ordinary = ordinary_window()
        return replace(ordinary, truth=1 - ordinary.truth)

    def test_what_is_required_is_measured_with_its_interval(self) -> None:
        (finding,) = Performance().look(ordinary_window())
        assert (finding.name, finding.subject) == ("R1", "roc_auc")
        assert finding.low is not None and finding.high is not None
        assert finding.low < finding.value < finding.high

    def test_few_labels_or_one_class_say_nothing(self, alarming: Context) -> None:
        few = replace(alarming, truth=alarming.truth[:99], score=alarming.score[:99])
        assert Performance().look(few) == []
        assert Performance().look(replace(alarming, truth=np.zeros(1000))) == []


class TestStaleness(MonitorSuite):
    backend = "staleness"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return Staleness()

    @pytest.fixture
    def alarming(self) -> Context:
        return ordinary_window(version_created_at=START - 40 * DAY)

    def test_a_model_is_stale_from_the_limit_on(self, alarming: Context) -> None:
        (finding,) = raised(Staleness(), alarming)
        assert (finding.value, finding.threshold) == (41.0, 30.0)
        assert finding.since == START - 10 * DAY
        assert finding.message == "p:1 is 41 days old, the limit is 30."
        exact = replace(alarming, version_created_at=alarming.window.end - timedelta(days=30))
        assert raised(Staleness(), exact) == []


class TestMissingLabels(MonitorSuite):
    backend = "missing labels"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return MissingLabels()

    @pytest.fixture
    def alarming(self) -> Context:
        return ordinary_window(truth=np.empty(0), score=np.empty(0))
