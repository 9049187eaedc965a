"""Tables compared as a whole: what no column shows by itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import treadle
from treadle.data.table_counts import reference_of
from treadle.kernel.errors import Invalid
from treadle.monitoring.joint_drift import JointDrift


def table(seed: int, rows: int, *, together: bool) -> dict[str, Any]:
    """Two numbers and a category, whose shares are the same whether they go together or not."""
    random = np.random.default_rng(seed)
    first = random.normal(size=rows)
    second = first if together else random.permutation(first)
    kinds = np.array(["low", "high"], dtype=object)[(random.normal(size=rows) > 0).astype(int)]
    return {"first": first, "second": second + random.normal(size=rows) / 2, "kind": kinds}


def joint_of(reference: Any, current: Any, **more: Any) -> JointDrift:
    found = treadle.drift(reference, current, joint=True, **more).joint
    assert found is not None
    return found


def test_columns_that_go_apart_are_found_together_and_not_one_by_one() -> None:
    reference, current = table(1, 2_000, together=True), table(2, 800, together=False)
    report = treadle.drift(reference, current, joint=True)
    assert report.drifted and not any(one.drifted for one in report.columns.values())
    found = report.joint
    assert found is not None and found.drifted and found.compared == (2_000, 800)
    assert found.p < 1e-6 and found.statistics["domain_classifier"] > 0.6
    assert found.statistics["pca_reconstruction"] > 1.05
    assert set(list(found.columns)[:2]) == {"first", "second"}
    apart = np.abs(current["first"] - current["second"])
    assert apart[found.rows].mean() > 1.5 * apart.mean()
    assert "All columns together drifted" in str(report) and "AUC of 0." in report.summary()
    assert treadle.drift(reference, current).joint is None


def test_false_alarms_are_as_rare_as_declared() -> None:
    ps = [
        joint_of(table(2 * n, 150, together=True), table(2 * n + 1, 100, together=True)).p
        for n in range(16)
    ]
    assert sum(p <= 0.1 for p in ps) <= 5  # 1.6 are expected at most; more than 5 has p 0.003


def test_names_and_rare_categories_are_no_drift() -> None:
    """Values that are as frequent as each other say nothing of the table that they came from."""
    random = np.random.default_rng(7)

    def rows(prefix: str) -> dict[str, Any]:
        ids = np.array([f"{prefix}{random.integers(1 << 40)}" for _ in range(400)], dtype=object)
        rare = random.zipf(1.6, 400).astype(str).astype(object)
        return {"amount": random.normal(size=400), "id": ids, "kind": rare}

    found = joint_of(rows(""), rows(""))
    assert not found.drifted and found.p > 0.001, found


def test_files_give_what_frames_give(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frames = [pandas.DataFrame(table(n, 300, together=n == 1)) for n in (1, 2)]
    frames[1].loc[3, "first"] = None
    frames[1].loc[4, "kind"] = None
    for place, frame in enumerate(frames):
        frame.to_parquet(tmp_path / f"{place}.parquet")
        frame.to_csv(tmp_path / f"{place}.csv", index=False)
    whole = joint_of(*frames)
    assert joint_of(tmp_path / "0.parquet", tmp_path / "1.parquet") == whole
    assert joint_of(tmp_path / "0.csv", tmp_path / "1.csv") == whole
    assert joint_of(tmp_path / "0.csv", frames[1]) == whole


def test_embeddings_are_projected_first() -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(600, 96)) @ random.normal(size=(96, 96))
    moved = vectors[300:] + 2 * vectors.std(axis=0) * random.normal(size=96) / 2
    assert joint_of(vectors[:300], moved).drifted
    found = joint_of(vectors[:300], vectors[300:])
    assert not found.drifted and found.columns == {}


def test_what_cannot_be_compared_as_a_whole_says_so() -> None:
    whole = table(1, 100, together=True)
    with pytest.raises(Invalid, match="current has 39 rows; comparing tables as a whole takes 40"):
        joint_of(whole, {name: values[:39] for name, values in whole.items()})
    with pytest.raises(Invalid, match="Counts tell nothing of columns together"):
        joint_of(reference_of(whole), whole)
