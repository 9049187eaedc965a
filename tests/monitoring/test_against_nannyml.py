"""Estimates equal those that NannyML 0.13.1 gives for the tables that its wheel bundles."""

from pathlib import Path
from typing import Any

import pandas
import pytest

from treadle import estimate_performance

TABLES = Path(__file__).parents[2] / ".clients/nannyml/nannyml/datasets/data"
PUBLISHED = (0.970744, 0.971011, 0.971407, 0.971091, 0.971123,
             0.961090, 0.961825, 0.961073, 0.962533, 0.961316)  # fmt: skip
OF_TWO = {
    "accuracy": (0.941792, 0.911731),
    "precision": (0.957786, 0.941133),
    "recall": (0.928723, 0.889808),
    "f1": (0.94303, 0.914751),
    "specificity": (0.955879, 0.936675),
    "true_positives": (2408.831699, 2367.890436),
    "true_negatives": (2300.127708, 2190.766159),
    "false_positives": (106.168301, 148.109564),
    "false_negatives": (184.872292, 293.233841),
}
OF_THREE = {
    "roc_auc": (0.906962, 0.821428),
    "accuracy": (0.75339, 0.639327),
    "precision": (0.753371, 0.634949),
    "recall": (0.753293, 0.632891),
    "f1": (0.753301, 0.633443),
    "specificity": (0.876649, 0.818029),
}
CLASSES = ("highstreet_card", "prepaid_card", "upmarket_card")


def table(name: str, *columns: str) -> Any:
    return pandas.read_csv(TABLES / f"{name}.csv", usecols=list(columns))


@pytest.fixture(scope="module")
def car_loans() -> tuple[Any, Any]:
    columns = "y_pred_proba", "y_pred", "timestamp"
    return (
        table("synthetic_car_loan_reference", "repaid", *columns),
        table("synthetic_car_loan_analysis", *columns),
    )


def test_the_published_areas_thresholds_and_alerts_of_the_car_loans(
    car_loans: tuple[Any, Any],
) -> None:
    estimate = estimate_performance(
        *car_loans,
        target="repaid",
        prediction="y_pred",
        score="y_pred_proba",
        timestamp="timestamp",
        chunk_size=5000,
        metrics=["roc_auc", *OF_TWO],
    )
    areas = estimate.of("roc_auc")
    assert [each.value for each in areas] == pytest.approx(PUBLISHED, abs=1e-6)
    assert areas[0].three_sigma_low == pytest.approx(0.963317, abs=1e-6)
    assert areas[0].three_sigma_high == pytest.approx(0.978660, abs=1e-6)
    assert [each.outside_three_sigma for each in areas] == [False] * 5 + [True] * 5
    assert [each.outside for each in areas] == [False] * 5 + [True] * 5
    for name, ends in OF_TWO.items():
        each = estimate.of(name)
        assert (each[0].value, each[-1].value) == pytest.approx(ends, abs=1e-6)


def test_three_classes_of_the_card_holders() -> None:
    columns = "y_pred", *(f"y_pred_proba_{name}" for name in CLASSES)
    estimate = estimate_performance(
        table("mc_reference", "y_true", *columns),
        table("mc_analysis", *columns),
        target="y_true",
        prediction="y_pred",
        score={name: f"y_pred_proba_{name}" for name in CLASSES},
        chunk_size=6000,
        metrics=list(OF_THREE),
    )
    for name, ends in OF_THREE.items():
        each = estimate.of(name)
        # Ties are ranked together here, and in the order of quicksort there.
        assert (each[0].value, each[-1].value) == pytest.approx(ends, abs=2e-6)


def test_a_twentieth_of_the_labels_says_how_far_an_estimate_is_off(
    car_loans: tuple[Any, Any],
) -> None:
    reference, current = car_loans
    truth = table("synthetic_car_loan_analysis_target", "repaid")["repaid"]
    told = truth.astype(float).where(truth.index % 20 == 0)
    estimate = estimate_performance(
        reference,
        current.assign(repaid=told),
        target="repaid",
        score="y_pred_proba",
        chunks=2,
        metrics=["accuracy"],
    )
    for place, each in enumerate(estimate.of("accuracy")):
        rows = slice(place * 25_000, (place + 1) * 25_000)
        predicted = current["y_pred_proba"][rows] >= 0.5
        realised = float((predicted == (truth[rows] == 1)).mean())
        assert each.labels == 1250
        assert each.corrected_low is not None and each.corrected_high is not None
        assert each.corrected_low < realised < each.corrected_high
