"""Reads models that other tools have saved, and runs code from them only where it is trusted."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from treadle.kernel.errors import Invalid, NotFound, missing_extra
from treadle.kernel.escaping import shell
from treadle.ports.runtime import SIGNATURE, Field, Signature

_PICKLES = (".pkl", ".pickle", ".joblib")
_SAFE_TYPES = {
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRanker",
    "lightgbm.sklearn.LGBMRegressor",
}
"""Types that skops does not know, and that run no code when they are read."""
_KINDS = {
    "double": "number",
    "float": "number",
    "integer": "number",
    "long": "number",
    "boolean": "number",
    "string": "text",
}


class Found(NamedTuple):
    """What a source holds: an estimator in memory, an ONNX graph, or a Python class.

    Attributes:
        estimator: A fitted estimator of any library; None for a graph or a class.
        graph: The content of an ONNX file; None for the others.
        code: A class's source text, its name and the files it loads; None for the others.
        example: Example rows that came with the model, or None.
        signature: The inputs that the model's own description names, or None.
    """

    estimator: Any = None
    graph: bytes | None = None
    code: tuple[str, str, Path | None] | None = None
    example: Any = None
    signature: Signature | None = None


def read(source: str, *, trusted: bool = False, files: Path | None = None) -> Found:
    """Read a model that another tool has saved.

    Args:
        source: An MLflow folder, a TensorFlow SavedModel, `FILE.py:Class`, or a file of ONNX,
            Keras, PyTorch (.pt2), XGBoost, LightGBM, skops or pickle.
        trusted: Whether code from the source may be run.
        files: The files that a Python class loads.

    Raises:
        NotFound: The source does not exist.
        Invalid: The source is no model that is known, needs a library that is not installed, or
            would run code and is not trusted.
    """
    file, _, entry = source.partition(".py:")
    if entry:
        script = Path(f"{file}.py")
        if not script.is_file():
            raise NotFound(f"There is no '{script}'.")
        _check_trust(trusted, f"'{source}' is Python code")
        return Found(code=(script.read_text(encoding="utf-8"), entry, files))
    path = Path(source)
    if not path.exists():
        raise NotFound(f"There is no '{path}'. Name a model's file or folder, or FILE.py:Class.")
    if path.is_dir():
        if (path / "MLmodel").is_file():
            return _mlflow(path, trusted)
        if (path / "saved_model.pb").is_file():
            return Found(graph=_saved_model(path))
        if (path / SIGNATURE).is_file():
            raise Invalid(f"'{path}' is a model folder already: {shell('treadle', 'serve', path)}")
        raise Invalid(
            f"'{path}' is no model: there is neither 'MLmodel' nor 'saved_model.pb' in it."
        )
    return _file(path, trusted)


def _file(path: Path, trusted: bool) -> Found:
    suffix = path.suffix
    readers: dict[str, Callable[[Path], Any]] = {
        ".keras": _keras,
        ".pt2": _torch,
        ".skops": partial(_skops, trusted=trusted),
        ".json": _xgboost,
        ".ubj": _xgboost,
        ".txt": _lightgbm,
        ".lgb": _lightgbm,
    }
    if suffix == ".onnx":
        return Found(graph=path.read_bytes())
    if suffix in _PICKLES:
        runs_code = f"'{path.name}' is a pickle, which runs what it holds when it is read"
        _check_trust(trusted, runs_code)
        return Found(estimator=_unpickled(path))
    if suffix not in readers:
        known = ", ".join([".onnx", *readers, *_PICKLES])
        raise Invalid(
            f"'{path.name}' is no model that is known by its name. "
            f"Known are {known}, folders, and FILE.py:Class."
        )
    try:
        return Found(estimator=readers[suffix](path))
    except ModuleNotFoundError as error:
        raise Invalid(
            f"Reading '{path.name}' needs {error.name}: pip install {error.name}"
        ) from error
    except Invalid:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
        raise Invalid(f"'{path.name}' could not be read: {reason}") from error


def _mlflow(folder: Path, trusted: bool) -> Found:
    """An MLflow model: its native flavour, else the pickled one, else what MLflow itself loads."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_extra("import", "Reading an MLflow model") from error
    try:
        about = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
        flavours = about.get("flavors") or {}
    except (yaml.YAMLError, AttributeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Invalid(f"'{folder / 'MLmodel'}' does not describe a model: {reason}") from error
    example, signature = _mlflow_example(folder, about), _mlflow_signature(about)
    if "onnx" in flavours:
        return Found(
            graph=(folder / flavours["onnx"].get("data", "model.onnx")).read_bytes(),
            example=example,
            signature=signature,
        )
    for flavour, key in (
        ("xgboost", "data"),
        ("lightgbm", "data"),
        ("sklearn", "pickled_model"),
        ("pytorch", "model_data"),
    ):
        named = flavours.get(flavour, {}).get(key)
        if named is not None:
            path = folder / named
            if path.is_dir():
                graph, pickled = path / "model.pt2", path / "model.pth"
                path = graph if graph.is_file() else pickled
            if flavour == "pytorch" and path.suffix != ".pt2":
                runs_code = (
                    f"'{path.name}' of this MLflow model is a pickle, "
                    "which runs what it holds when it is read"
                )
                _check_trust(trusted, runs_code)
                return Found(estimator=_torch_pickle(path), example=example, signature=signature)
            return _file(path, trusted)._replace(example=example, signature=signature)
    if "tensorflow" in flavours or "keras" in flavours:
        keras = next(folder.rglob("*.keras"), None)
        if keras is not None:
            return _file(keras, trusted)._replace(example=example, signature=signature)
        saved = next(folder.rglob("saved_model.pb"), None)
        if saved is not None:
            return Found(graph=_saved_model(saved.parent), example=example, signature=signature)
    _check_trust(trusted, "this MLflow model is loaded by MLflow, which runs its code")
    return Found(code=(_PYFUNC, "Model", folder), example=example, signature=signature)


_PYFUNC = """import mlflow.pyfunc


class Model:
    def load(self, folder):
        self.model = mlflow.pyfunc.load_model(str(folder))

    def predict(self, frame):
        return self.model.predict(frame)
"""


def _mlflow_signature(about: dict[str, Any]) -> Signature | None:
    """The columns that an MLflow signature names; None where it names tensors or nothing."""
    written = (about.get("signature") or {}).get("inputs")
    columns = json.loads(written) if written else []
    if not columns or any(
        column.get("type") not in _KINDS or "name" not in column for column in columns
    ):
        return None
    fields: list[Any] = [
        Field(name=column["name"], kind=_KINDS[column["type"]])  # type: ignore[arg-type]
        for column in columns
    ]
    return Signature(inputs=fields, output="value")


def _mlflow_example(folder: Path, about: dict[str, Any]) -> Any:
    """The rows that an MLflow model was saved with, as a frame."""
    named = (about.get("saved_input_example_info") or {}).get("artifact_path")
    if not named or not (folder / named).is_file():
        return None
    import pandas as pd

    given = json.loads((folder / named).read_text(encoding="utf-8"))
    if isinstance(given, list) and given and isinstance(given[0], list):
        table = pd.DataFrame(given)  # an array of rows, whose columns have no names
        is_of_numbers = all(kind.kind in "fiub" for kind in table.dtypes)
        return table.rename(columns="x{}".format) if is_of_numbers else None
    if not isinstance(given, dict) or "data" not in given:
        return None
    return pd.DataFrame(given["data"], columns=given.get("columns"))


def _saved_model(folder: Path) -> bytes:
    """A TensorFlow SavedModel as a graph, converted by tf2onnx in a process of its own."""
    with tempfile.TemporaryDirectory() as aside:
        target = Path(aside, "model.onnx")
        convert = [sys.executable, "-m", "tf2onnx.convert"]
        options = ["--saved-model", str(folder), "--output", str(target), "--opset", "17"]
        done = subprocess.run([*convert, *options], capture_output=True, text=True)
        if "No module named" in done.stderr:
            raise Invalid(
                "Reading a TensorFlow SavedModel needs tensorflow and tf2onnx: "
                "pip install tensorflow-cpu tf2onnx"
            )
        if done.returncode or not target.exists():
            errors = [line for line in done.stderr.splitlines() if "Error" in line]
            reason = errors[-1] if errors else "it said nothing"
            raise Invalid(f"tf2onnx could not convert '{folder}': {reason[:300]}")
        return target.read_bytes()


def _keras(path: Path) -> Any:
    """A Keras model, on the backend that Keras is set to, else on the first that is installed."""
    installed = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]
    if installed:
        os.environ.setdefault("KERAS_BACKEND", installed[0])
    return importlib.import_module("keras.saving").load_model(path)


def _torch(path: Path) -> Any:
    """A program that torch.export has saved: a graph without code."""
    return importlib.import_module("torch.export").load(path).module()


def _torch_pickle(path: Path) -> Any:
    return importlib.import_module("torch").load(path, weights_only=False, map_location="cpu")


def _skops(path: Path, *, trusted: bool) -> Any:
    io = importlib.import_module("skops.io")
    types = io.get_untrusted_types(file=path)
    if unknown := sorted(set(types) - _SAFE_TYPES):
        _check_trust(
            trusted, f"'{path.name}' holds {', '.join(unknown)}, which is not known to be safe"
        )
    return io.load(path, trusted=types)


def _xgboost(path: Path) -> Any:
    """XGBoost's own file, as the classifier or regressor that its objective names."""
    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    objective = str(json.loads(booster.save_config())["learner"]["objective"]["name"])
    classifies = objective.startswith(("binary:", "multi:"))
    estimator = xgboost.XGBClassifier() if classifies else xgboost.XGBRegressor()
    estimator.load_model(path)
    return estimator


def _lightgbm(path: Path) -> Any:
    """LightGBM's own text, as the classifier or regressor that its objective names."""
    import lightgbm

    booster = lightgbm.Booster(model_file=path)
    objective = str(booster.dump_model().get("objective", ""))
    classifies = objective.startswith(("binary", "multiclass"))
    estimator = lightgbm.LGBMClassifier() if classifies else lightgbm.LGBMRegressor()
    estimator._Booster = booster
    estimator._n_features = booster.num_feature()
    estimator.fitted_ = True
    if classifies:
        import numpy as np
        from sklearn.preprocessing import LabelEncoder

        estimator._n_classes = max(2, booster.num_model_per_iteration())
        estimator._le = LabelEncoder().fit(np.arange(estimator._n_classes))
        estimator._classes = estimator._le.classes_
        estimator._objective = objective.partition(" ")[0]
    return estimator


def _unpickled(path: Path) -> Any:
    try:
        return importlib.import_module("joblib").load(path)
    except ModuleNotFoundError as error:
        raise Invalid(
            f"'{path.name}' holds objects of '{error.name}', which is not installed here."
        ) from error
    except Exception as error:
        raise Invalid(
            f"'{path.name}' could not be read: {type(error).__name__}: {error}"
        ) from error


def _check_trust(trusted: bool, why: str) -> None:
    if not trusted:
        raise Invalid(f"{why[0].upper()}{why[1:]}. If you trust where it comes from, say --trust.")
