"""Packages plain functions of a frame, and objects that can be called with one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from treadle.backends.exporter.library import fields_of, library_way
from treadle.backends.runtime.estimators import answers
from treadle.kernel.errors import Invalid
from treadle.ports.runtime import Signature, Way


class FunctionExporter:
    """Keeps a function as it is. It takes a frame, and gives one answer for each row.

    Args:
        url: `function:`.
    """

    def __init__(self, url: str = "function:") -> None:
        self.url = url

    def describe(self, estimator: Any, example: Any) -> Signature:
        """Return a function's signature, by asking it.

        Args:
            estimator: The function.
            example: A frame of example inputs.

        Raises:
            Invalid: The function fails on the first rows, or does not give an answer for each.
        """
        name = getattr(estimator, "__name__", type(estimator).__name__)
        rows = example[:2]
        try:
            given = np.asarray(estimator(rows), dtype=np.float64)
        except Exception as error:
            raise Invalid(
                f"'{name}' fails on the first rows: {type(error).__name__}: {error}. "
                "It takes a frame, and gives a number or several for each row."
            ) from error
        if given.ndim not in (1, 2) or len(given) != len(rows):
            raise Invalid(
                f"'{name}' gave an array of shape {list(given.shape)} for {len(rows)} rows. "
                "Wanted is a number, or several, for each row."
            )
        several = given.ndim == 2 and given.shape[1] > 1
        return Signature(inputs=fields_of(example), output="values" if several else "value")

    def ways(self, estimator: Any, signature: Signature) -> Sequence[Way]:
        """List the one way: the function itself.

        Args:
            estimator: The function.
            signature: Its signature.
        """
        return [library_way(estimator, signature)]

    def answer(self, estimator: Any, signature: Signature, inputs: Any) -> NDArray[Any]:
        """Return the function's own answers, in the signature's form.

        Args:
            estimator: The function.
            signature: Its signature.
            inputs: A frame of inputs.
        """
        return answers(estimator, signature, inputs)
