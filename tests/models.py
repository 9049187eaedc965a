"""Small real models for tests, trained in milliseconds."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from treadle.backends.exporter.sklearn import SklearnExporter
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.ports.blobs import Blobs
from treadle.ports.tree import put_tree
from treadle.training.package import Model


@cache
def rows(count: int = 600, seed: int = 0) -> pd.DataFrame:
    """A text column, two numbers, and a label that depends on them."""
    random = np.random.default_rng(seed)
    colour = random.choice(["red", "green", "blue"], count)
    size, weight = random.normal(size=count), random.normal(size=count)
    chance = 1 / (1 + np.exp(-(2 * size + (colour == "red") - 0.5)))
    return pd.DataFrame(
        {
            "colour": colour,
            "size": size,
            "weight": weight,
            "y": (random.random(count) < chance).astype(int),
        }
    )


INPUTS = ["colour", "size", "weight"]


@cache
def trees() -> Any:
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer((encode, ["colour"]), ("passthrough", ["size", "weight"]))
    return make_pipeline(columns, HistGradientBoostingClassifier(max_iter=20)).fit(
        rows()[INPUTS], rows()["y"]
    )


@cache
def strict() -> Any:
    """Fails on a colour that it has not seen."""
    encode = OneHotEncoder(handle_unknown="error", sparse_output=False)
    columns = make_column_transformer((encode, ["colour"]), ("passthrough", ["size", "weight"]))
    return make_pipeline(columns, LogisticRegression()).fit(rows()[INPUTS], rows()["y"])


@cache
def three_classes() -> Any:
    columns = make_column_transformer(("passthrough", ["size", "weight"]))
    return make_pipeline(columns, LogisticRegression()).fit(
        rows()[["size", "weight"]], rows()["colour"]
    )


@cache
def line() -> Any:
    return LinearRegression().fit(rows()[["size", "weight"]], rows()["size"] * 3 + 1)


def save(folder: Path, estimator: Any, inputs: Any = None) -> Path:
    """A model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    Model(estimator, rows()[INPUTS] if inputs is None else inputs).save(
        folder, SklearnExporter(), OnnxRuntime()
    )
    return folder


def package(blobs: Blobs, folder: Path, estimator: Any) -> str:
    """A stored package."""
    return put_tree(blobs, save(folder, estimator))
