"""Treadle's own monitors do what every monitor must do."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from treadle.evaluation.calibration import Calibration, ScoreCurve
from treadle.kernel.entity import replace as changed
from treadle.monitoring.monitors.drift import Drift
from treadle.monitoring.monitors.estimated_performance import EstimatedPerformance
from treadle.monitoring.monitors.latency import Latency
from treadle.monitoring.monitors.missing_labels import MissingLabels
from treadle.monitoring.monitors.performance import Performance
from treadle.monitoring.monitors.staleness import Staleness
from treadle.ports.monitor import Context, Monitor
from treadle.scope.model import Requirement
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


class TestEstimatedPerformance(MonitorSuite):
    backend = "estimated performance"

    @pytest.fixture
    def monitor(self) -> Monitor:
        return EstimatedPerformance()

    @pytest.fixture
    def alarming(self) -> Context:
        ordinary = ordinary_window()
        return replace(ordinary, outputs=0.5 + (ordinary.outputs - 0.5) / 10)

    def test_an_estimate_comes_near_what_labels_say_later(self) -> None:
        (estimated,) = EstimatedPerformance().look(ordinary_window())
        (realised,) = Performance().look(ordinary_window())
        assert (estimated.name, estimated.subject) == (realised.name, realised.subject)
        assert estimated.low is not None and estimated.high is not None
        assert estimated.low < realised.value < estimated.high

    def test_it_says_what_it_rests_on_and_sets_nothing_off(self, alarming: Context) -> None:
        (finding,) = raised(EstimatedPerformance(), alarming)
        assert "without labels, if scores still mean what they meant" in finding.message
        assert finding.message.endswith("required is roc_auc ≥ 0.6.")
        assert finding.trigger is None

    def test_scores_are_calibrated_before(self) -> None:
        told = ScoreCurve(scores=[0.0, 1.0], probabilities=[0.5, 0.5])
        window = ordinary_window(calibration=Calibration(rows=1000, curves=[told]))
        (finding,) = raised(EstimatedPerformance(), window)
        assert finding.value == pytest.approx(0.5)

    def test_several_classes_are_estimated(self) -> None:
        scores = np.random.default_rng(0).dirichlet(np.ones(3), 1000)
        window = ordinary_window(
            outputs=scores,
            calibration=Calibration(rows=1000, curves=[ScoreCurve()] * 3),
            requirements=[Requirement(id="R1", metric="accuracy", at_least=0.5)],
        )
        (finding,) = EstimatedPerformance().look(window)
        assert finding.value == pytest.approx(scores.max(axis=1).mean())

    def test_few_rows_and_models_that_nobody_judged_say_nothing(self, alarming: Context) -> None:
        few = replace(alarming, outputs=alarming.outputs[:99])
        assert EstimatedPerformance().look(few) == []
        assert EstimatedPerformance().look(replace(alarming, calibration=None)) == []


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
