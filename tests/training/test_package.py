"""A model folder answers as the trained model does, or it is not made."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tests import models
from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxModel, OnnxRuntime
from treadle.data.frames import plain
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Columns, Signature
from treadle.training.package import Model, Package, score


class OffBy(OnnxRuntime):
    """A runtime whose answers are off by a little, from one row on."""

    def __init__(self, much: float, row: int = 0) -> None:
        super().__init__()
        self.much, self.row = much, row

    def load(self, file: Path, signature: Signature) -> OnnxModel:
        much, row, model = self.much, self.row, super().load(file, signature)

        class Off(OnnxModel):
            def __init__(self) -> None:
                """Answers through the other one."""

            def predict(self, columns: Columns) -> Any:
                answers = model.predict(columns).copy()
                if row < len(answers):
                    answers[row] += np.float32(much)
                return answers

        return Off()


def table_of(frame: pd.DataFrame) -> dict[str, Any]:
    return {str(name): plain(frame[name]) for name in frame.columns}


def save(folder: Path, runtime: OnnxRuntime, **options: Any) -> None:
    folder.mkdir()
    Model(models.line(), models.rows()[["size", "weight"]], **options).save(
        folder, SklearnExporter(), runtime
    )


def test_a_saved_model_answers_as_the_estimator(tmp_path: Path) -> None:
    package = Package(models.save(tmp_path / "m", models.trees()), OnnxRuntime())
    fresh = models.rows(200, seed=9)[models.INPUTS]
    expected = models.trees().predict_proba(fresh)[:, 1]
    np.testing.assert_allclose(package.predict_table(table_of(fresh)), expected, atol=1e-4)


def test_the_reference_tells_what_the_model_saw(tmp_path: Path) -> None:
    reference = Package(models.save(tmp_path / "m", models.trees()), OnnxRuntime()).reference
    assert reference.rows == len(models.rows())
    assert list(reference.columns) == models.INPUTS
    assert all(
        column.rows == reference.rows // 2
        for column in [*reference.columns.values(), reference.prediction]
    )
    assert 0 <= reference.parity < 1e-4


def test_a_model_folder_holds_no_pickle(tmp_path: Path) -> None:
    folder = models.save(tmp_path / "m", models.trees())
    assert sorted(path.name for path in folder.iterdir()) == [
        "model.onnx",
        "reference.json",
        "signature.json",
    ]


def test_a_broken_parity_is_refused_with_its_numbers(tmp_path: Path) -> None:
    with pytest.raises(
        Invalid,
        match=r"ONNX: 1 of 600 rows differ by more than 0\.011, at most by 0\.5; "
        r"ONNX in double precision: 1 of 600 rows .*Nothing was packaged",
    ):
        save(tmp_path / "m", OffBy(0.5))
    assert list((tmp_path / "m").iterdir()) == []


def test_a_difference_within_the_tolerance_is_accepted_and_kept(tmp_path: Path) -> None:
    save(tmp_path / "m", OffBy(0.5), tolerance=1.0)
    assert Package(tmp_path / "m", OnnxRuntime()).reference.parity == pytest.approx(0.5, abs=1e-4)


def test_an_answer_that_is_no_number_breaks_parity(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="at most by nan"):
        save(tmp_path / "m", OffBy(float("nan"), row=7))


def test_numbers_too_fine_for_float32_are_kept_as_float64(tmp_path: Path) -> None:
    """Beyond 2^24 neighbours are one float32: the estimator tells them apart."""
    inputs = pd.DataFrame({"serial": 2.0**24 + np.arange(64)})
    estimator = LinearRegression().fit(inputs, np.arange(64.0))
    Model(estimator, inputs).save(tmp_path, SklearnExporter(), OnnxRuntime())
    package = Package(tmp_path, OnnxRuntime())
    assert package.signature.precision == "float64"
    assert package.signature.note.startswith("ONNX: ")
    scores = package.predict_table(table_of(inputs))
    np.testing.assert_allclose(scores, np.arange(64), atol=1e-4)


def test_only_the_rows_on_which_the_model_fails_have_no_score(tmp_path: Path) -> None:
    package = Package(models.save(tmp_path / "m", models.strict()), OnnxRuntime())
    frame = models.rows(257, seed=3)[models.INPUTS].copy()
    unseen = [0, 1, 100, 128, 256]
    frame.loc[unseen, "colour"] = "violet"
    scores = package.predict_table(table_of(frame))
    assert np.flatnonzero(np.isnan(scores)).tolist() == unseen
    kept = frame.drop(index=unseen)
    expected = models.strict().predict_proba(kept)[:, 1]
    np.testing.assert_allclose(scores[~np.isnan(scores)], expected, atol=1e-4)


def test_a_model_that_fails_on_every_row_gives_no_score_at_all(tmp_path: Path) -> None:
    package = Package(models.save(tmp_path / "m", models.strict()), OnnxRuntime())
    frame = models.rows(40)[models.INPUTS].assign(colour="violet")
    assert np.isnan(package.predict_table(table_of(frame))).all()


def test_a_table_without_rows_has_no_scores(tmp_path: Path) -> None:
    package = Package(models.save(tmp_path / "m", models.trees()), OnnxRuntime())
    assert package.predict_table(table_of(models.rows()[models.INPUTS][:0])).shape == (0,)


def test_the_score_of_several_classes_is_the_highest_probability() -> None:
    np.testing.assert_array_equal(score(np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]])), [0.7, 0.5])
    np.testing.assert_array_equal(score(np.array([0.3, 0.4])), [0.3, 0.4])
