"""Registers the converters of LightGBM and XGBoost with skl2onnx."""

import importlib
from collections.abc import Iterable
from typing import Any

from treadle.kernel.errors import missing_extra


def register_boosters(parts: Iterable[Any]) -> None:
    """Register the converters that a model's parts need.

    Args:
        parts: The estimators that a model consists of, copies of the originals: the names of an
            XGBoost model's features are taken away, because the converter takes only f0, f1, ….

    Raises:
        Invalid: The package that converts them is missing.
    """
    boosters = [one for one in parts if _library(one) in ("lightgbm", "xgboost")]
    used = {_library(one) for one in boosters}
    if not used:
        return
    try:
        import onnxmltools  # noqa: F401
    except ModuleNotFoundError as error:
        libraries = " and ".join(sorted(used))
        raise missing_extra("boosting", f"Packaging a model of {libraries}") from error
    for library in used:
        _register(library)
    for one in boosters:
        if _library(one) == "xgboost":
            one.get_booster().feature_names = None


def _library(estimator: Any) -> str:
    return type(estimator).__module__.partition(".")[0]


def _register(library: str) -> None:
    """Register a library's converters with skl2onnx."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    shapes = {
        "Classifier": calculate_linear_classifier_output_shapes,
        "Regressor": calculate_linear_regressor_output_shapes,
    }
    package = importlib.import_module(library)
    if library == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import (
            convert_lightgbm as convert,
        )

        names = {
            "Classifier": ("LGBMClassifier", "LightGbm"),
            "Regressor": ("LGBMRegressor", "LightGbm"),
        }
    else:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import (
            convert_xgboost as convert,
        )

        names = {
            "Classifier": ("XGBClassifier", "XGBoost"),
            "Regressor": ("XGBRegressor", "XGBoost"),
        }
    classifier_options = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    for kind, (name, prefix) in names.items():
        options = classifier_options if kind == "Classifier" else None
        update_registered_converter(
            getattr(package, name), f"{prefix}{name}", shapes[kind], convert, options=options
        )
