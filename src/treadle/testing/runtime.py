"""The conformance suite of exporters with their runtimes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from treadle.kernel.errors import Invalid
from treadle.ports.runtime import GRAPH, Exporter, Runtime, Signature
from treadle.testing.suite import Suite


class RuntimeSuite(Suite):
    """What every pair of exporter and runtime must do: the package answers as the estimator does.

    Subclasses give the fixtures ``exporter``, ``runtime``, and ``trained``: an estimator, a frame
    of inputs and the expected outputs.
    """

    port = "runtime"

    @pytest.fixture
    def exporter(self) -> Exporter:
        """The exporter under test."""
        raise TypeError("give the fixture 'exporter'")

    @pytest.fixture
    def runtime(self) -> Runtime:
        """The runtime under test."""
        raise TypeError("give the fixture 'runtime'")

    @pytest.fixture
    def trained(self) -> tuple[Any, Any, Any]:
        """An estimator, a frame of inputs, and the expected outputs."""
        raise TypeError("give the fixture 'trained'")

    def test_the_packaged_model_answers_as_the_trained_one(
        self, exporter: Exporter, runtime: Runtime, trained: tuple[Any, Any, Any], tmp_path: Path
    ) -> None:
        """The package answers within 1e-4 of what the estimator gives for the same inputs."""
        estimator, inputs, expected = trained
        signature = exporter.describe(estimator, inputs)
        content, signature = exporter.ways(estimator, signature)[0].export()
        (tmp_path / signature.file).write_bytes(content)
        table = {
            field.name: np.asarray(
                inputs[field.name], dtype=np.float64 if field.kind == "number" else object
            )
            for field in signature.inputs
        }
        answers = runtime.load(tmp_path / signature.file, signature).predict(
            signature.columns(table)
        )
        np.testing.assert_allclose(
            exporter.answer(estimator, signature, inputs), expected, atol=1e-6
        )
        assert answers.shape == expected.shape
        np.testing.assert_allclose(answers, expected, atol=1e-4)

    def test_a_file_that_is_no_model_is_refused(self, runtime: Runtime, tmp_path: Path) -> None:
        """Loading other bytes raises Invalid."""
        (tmp_path / GRAPH).write_bytes(b"not a model")
        with pytest.raises(Invalid, match="not a model"):
            runtime.load(tmp_path / GRAPH, Signature(inputs=[], output="value"))
