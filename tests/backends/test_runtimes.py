"""scikit-learn models of every kind answer the same through ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBClassifier, XGBRegressor

from tests import models
from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.errors import Invalid
from treadle.platform.runtimes import Runtimes
from treadle.ports.runtime import Exporter, Runtime, open_model
from treadle.testing.runtime import RuntimeSuite
from treadle.training.package import Model


class _SklearnSuite(RuntimeSuite):
    @pytest.fixture
    def exporter(self) -> Exporter:
        return SklearnExporter()

    @pytest.fixture
    def runtime(self) -> Runtime:
        return OnnxRuntime()


class TestTwoClasses(_SklearnSuite):
    backend = "sklearn → onnx, two classes"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs = models.rows()[models.INPUTS]
        return models.trees(), inputs, models.trees().predict_proba(inputs)[:, 1]


class TestThreeClasses(_SklearnSuite):
    backend = "sklearn → onnx, three classes"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs = models.rows()[["size", "weight"]]
        return models.three_classes(), inputs, models.three_classes().predict_proba(inputs)


class TestRegression(_SklearnSuite):
    backend = "sklearn → onnx, regression"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs = models.rows()[["size", "weight"]]
        return models.line(), inputs, models.line().predict(inputs)


class TestLightGbm(_SklearnSuite):
    backend = "LightGBM → onnx"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs, truth = models.rows()[["size", "weight"]], models.rows()["y"]
        made = LGBMClassifier(n_estimators=20, verbose=-1).fit(inputs, truth)
        return made, inputs, np.asarray(made.predict_proba(inputs))[:, 1]


class TestLightGbmBehindColumns(_SklearnSuite):
    backend = "LightGBM behind columns → onnx"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs = models.rows()[models.INPUTS]
        encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        columns = make_column_transformer((encode, ["colour"]), ("passthrough", ["size", "weight"]))
        made = make_pipeline(columns, LGBMRegressor(n_estimators=20, verbose=-1)).fit(
            inputs, models.rows()["size"] * 3
        )
        return made, inputs, made.predict(inputs)


class TestXGBoost(_SklearnSuite):
    backend = "XGBoost → onnx"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs, truth = models.rows()[["size", "weight"]], models.rows()["y"]
        made = XGBClassifier(n_estimators=20, n_jobs=1).fit(inputs, truth)
        return made, inputs, made.predict_proba(inputs)[:, 1]


class TestXGBoostRegression(_SklearnSuite):
    backend = "XGBoost → onnx, regression"

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        inputs = models.rows()[["size", "weight"]]
        made = XGBRegressor(n_estimators=20, n_jobs=1).fit(inputs, models.rows()["size"] * 3)
        return made, inputs, made.predict(inputs)


def test_packaging_a_booster_leaves_it_as_it_was() -> None:
    inputs = models.rows()[["size", "weight"]]
    made = XGBClassifier(n_estimators=5, n_jobs=1).fit(inputs, models.rows()["y"])
    SklearnExporter().ways(made, SklearnExporter().describe(made, inputs))[0].export()
    assert made.get_booster().feature_names == ["size", "weight"]


def test_an_estimator_that_cannot_be_converted_is_named() -> None:
    class Homemade:
        classes_ = np.array([0, 1])

    exporter = SklearnExporter()
    signature = exporter.describe(models.trees(), models.rows()[models.INPUTS])
    for way in exporter.ways(Homemade(), signature)[:2]:
        with pytest.raises(Invalid, match="Homemade has no graph"):
            way.export()
    with pytest.raises(Invalid, match="Homemade has no method 'predict'"):
        exporter.describe(Homemade(), models.rows())


@pytest.mark.parametrize("detector", ["IsolationForest", "EllipticEnvelope"])
def test_a_detector_scores_strange_rows_high_with_a_graph_and_without(
    detector: str, tmp_path: Path
) -> None:
    import sklearn.covariance
    import sklearn.ensemble

    kind = getattr(sklearn.ensemble, detector, None) or getattr(sklearn.covariance, detector)
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)), columns=["a", "b", "c"])
    rows.iloc[0] = 9.0
    estimator, exporter = kind(random_state=0).fit(rows), SklearnExporter()
    folder = tmp_path / "model"
    folder.mkdir()
    Model(estimator, rows).save(folder, exporter, Runtimes())
    signature, model = open_model(folder, Runtimes())
    assert signature.output == "score"
    assert signature.runtime == {"IsolationForest": "onnx", "EllipticEnvelope": "skops"}[detector]
    scores = model.predict(signature.columns({name: rows[name].to_numpy() for name in rows}))
    assert scores.shape == (300,)
    np.testing.assert_allclose(scores, -estimator.decision_function(rows), rtol=1e-3, atol=1e-4)
    assert scores.argmax() == 0
    assert scores[0] > 0
