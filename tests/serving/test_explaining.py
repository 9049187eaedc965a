"""Explanations add up, are exact where they can be known, and disturb nobody."""

import json
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tests import models
from tests.serving.clients.test_clients import serving
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.data.profile import REFERENCE, Reference
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, Unavailable
from treadle.ports.runtime import open_model
from treadle.serving.explaining import Explanation, explain


def explained(folder: Path, rows: pd.DataFrame, *, known: bool = True) -> list[Explanation]:
    signature, model = open_model(folder, OnnxRuntime())
    reference = from_json((folder / REFERENCE).read_bytes(), Reference) if known else None
    columns = signature.columns({f.name: rows[f.name].to_numpy() for f in signature.inputs})
    return explain(model, columns, reference, signature.classes)


@pytest.mark.parametrize("estimator", [models.trees, models.three_classes, models.line])
def test_contributions_add_up_to_the_answer(tmp_path: Path, estimator: object) -> None:
    made = estimator()  # type: ignore[operator]
    inputs = (
        models.rows()[models.INPUTS]
        if estimator is models.trees
        else models.rows()[["size", "weight"]]
    )
    for found in explained(models.save(tmp_path, made, inputs), inputs.head(8)):
        assert sum(found.contributions.values()) == pytest.approx(
            found.prediction - found.baseline, abs=1e-5
        )
        assert (found.of in made.classes_) if estimator is models.three_classes else not found.of


def test_a_linear_models_contributions_are_its_weights_times_what_is_unusual(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    inputs = pd.DataFrame(random.uniform(-1, 1, size=(4000, 3)), columns=["a", "b", "c"])
    made = LinearRegression().fit(inputs, inputs.to_numpy() @ [1.0, 10.0, 0.0])
    (found,) = explained(
        models.save(tmp_path, made, inputs),
        pd.DataFrame([[0.5, -1.0, 1.0]], columns=["a", "b", "c"]),
    )
    assert found.baseline == pytest.approx(0, abs=2.5)  # 32 rows were drawn
    assert found.contributions["c"] == pytest.approx(0, abs=1e-4)
    assert found.contributions["a"] == pytest.approx(0.5, abs=0.3)
    assert found.contributions["b"] == pytest.approx(-10, abs=2.5)


def test_the_same_row_gives_the_same_explanation(tmp_path: Path) -> None:
    folder, row = models.save(tmp_path, models.trees()), models.rows()[models.INPUTS].head(1)
    assert explained(folder, row) == explained(folder, row)


def test_what_cannot_be_explained_is_told(tmp_path: Path) -> None:
    folder, rows = models.save(tmp_path, models.trees()), models.rows()[models.INPUTS]
    with pytest.raises(Invalid, match="at most 16"):
        explained(folder, rows)
    with pytest.raises(Unavailable, match="without example rows"):
        explained(folder, rows.head(1), known=False)


def test_a_server_explains_when_asked(tmp_path: Path) -> None:
    folder = models.save(tmp_path / "trees", models.trees())
    with serving(folder, state=tmp_path / "state") as url:
        row = {"colour": "red", "size": 1.0, "weight": None}
        answer = httpx.post(f"{url}/v1/models/trees:explain", json={"instances": [row]})
        assert answer.status_code == 200, answer.text
        (found,) = answer.json()["explanations"]
        predicted = httpx.post(f"{url}/v1/models/trees:predict", json={"instances": [row]}).json()[
            "predictions"
        ][0]
        assert found["prediction"] == pytest.approx(predicted, abs=1e-6)
        assert (
            max(found["contributions"], key=lambda name: abs(found["contributions"][name]))
            == "size"
        )
        many = httpx.post(
            f"{url}/v1/models/trees:explain", content=json.dumps({"instances": [row] * 17})
        )
        assert many.status_code == 400
        wrong = httpx.post(f"{url}/v1/models/trees:explain", json={"instances": [{"colour": 1}]})
        assert wrong.status_code == 400
