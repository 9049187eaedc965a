"""scikit-learn models of every kind answer the same through ONNX."""

from typing import Any

import numpy as np
import pytest

from tests import models
from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Exporter, Runtime
from treadle.testing.runtime import RuntimeSuite


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


def test_an_estimator_that_cannot_be_converted_is_named() -> None:
    class Homemade:
        classes_ = np.array([0, 1])

    signature = SklearnExporter().describe(models.trees(), models.rows()[models.INPUTS])
    with pytest.raises(Invalid, match="Homemade cannot be packaged as ONNX"):
        SklearnExporter().export(Homemade(), signature)
