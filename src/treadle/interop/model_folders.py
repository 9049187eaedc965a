"""Takes over models that other tools have saved: what each format holds, read without running code from it unless that is trusted."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from treadle.kernel.errors import Invalid, NotFound, missing_extra
from treadle.ports.runtime import SIGNATURE, Field, Signature

_PICKLES = (".pkl", ".pickle", ".joblib")
_KINDS = {
    "double": "number",
    "float": "number",
    "integer": "number",
    "long": "number",
    "boolean": "number",
    "string": "text",
}


class Found(NamedTuple):
    """What a source holds: an estimator in memory, an ONNX file, or a Python class with the files it loads.

    ``example`` are rows that came with it; ``signature`` what its own description says.
    """

    estimator: Any = None
    graph: bytes | None = None
    code: tuple[str, str, Path | None] | None = None  # source text, the class's name, its files
    example: Any = None
    signature: Signature | None = None


def read(source: str, *, trusted: bool = False, files: Path | None = None) -> Found:
    """Read a model: an MLflow folder, a TensorFlow SavedModel, ``FILE.py:Class``, or a file of ONNX, Keras, PyTorch (.pt2),

    XGBoost, LightGBM, skops, or pickle. Raises Invalid for what would run code and is not ``trusted``.
    """
    file, _, entry = source.partition(".py:")
    if entry:
        text = Path(f"{file}.py")
        if not text.is_file():
            raise NotFound(f"There is no '{text}'.")
        _check_trust(trusted, f"'{source}' is Python code")
        return Found(code=(text.read_text(encoding="utf-8"), entry, files))
    path = Path(source)
    if not path.exists():
        raise NotFound(f"There is no '{path}'. Name a model's file or folder, or FILE.py:Class.")
    if path.is_dir():
        if (path / "MLmodel").is_file():
            return _mlflow(path, trusted)
        if (path / "saved_model.pb").is_file():
            return Found(graph=_saved_model(path))
        if (path / SIGNATURE).is_file():
            raise Invalid(f"'{path}' is a model folder already: treadle serve {path}")
        raise Invalid(
            f"'{path}' is no model: there is neither 'MLmodel' nor 'saved_model.pb' in it."
        )
    return _file(path, trusted)


def _file(path: Path, trusted: bool) -> Found:
    suffix = path.suffix
    readers: dict[str, Callable[[Path], Any]] = {
        ".keras": _keras,
        ".pt2": _torch,
        ".skops": _skops,
        ".json": _xgboost,
        ".ubj": _xgboost,
        ".txt": _lightgbm,
        ".lgb": _lightgbm,
    }
    if suffix == ".onnx":
        return Found(graph=path.read_bytes())
    if suffix in _PICKLES:
        _check_trust(
            trusted, f"'{path.name}' is a pickle, which runs what it holds when it is read"
        )
        return Found(estimator=_unpickled(path))
    if suffix not in readers:
        known = ", ".join([".onnx", *readers, *_PICKLES])
        raise Invalid(
            f"'{path.name}' is no model that is known by its name. Known are {known}, folders, and FILE.py:Class."
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
        raise Invalid(
            f"'{path.name}' could not be read: {type(error).__name__}: {str(error).splitlines()[0][:300]}"
        ) from error


def _mlflow(folder: Path, trusted: bool) -> Found:
    """An MLflow model: its native flavour where that is data, else the pickled one, else whatever MLflow itself can load."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_extra("import", "Reading an MLflow model") from error
    about = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    flavours = about.get("flavors") or {}
    example, signature = _mlflow_example(folder, about), _mlflow_signature(about)
    if "onnx" in flavours:
        return Found(
            graph=(folder / flavours["onnx"].get("data", "model.onnx")).read_bytes(),
            example=example,
            signature=signature,
        )
    for flavour, place in (
        ("xgboost", "data"),
        ("lightgbm", "data"),
        ("sklearn", "pickled_model"),
        ("pytorch", "model_data"),
    ):
        named = flavours.get(flavour, {}).get(place)
        if named is not None:
            path = folder / named
            path = path / "model.pth" if path.is_dir() else path
            if flavour == "pytorch":
                _check_trust(
                    trusted,
                    f"'{path.name}' of this MLflow model is a pickle, which runs what it holds when it is read",
                )
                return Found(estimator=_torch_pickle(path), example=example, signature=signature)
            return _file(path, trusted)._replace(example=example, signature=signature)
    if "tensorflow" in flavours or "keras" in flavours:
        found = next(iter([*folder.rglob("*.keras")]), None)
        if found is not None:
            return _file(found, trusted)._replace(example=example, signature=signature)
        if (saved := next(iter(folder.rglob("saved_model.pb")), None)) is not None:
            return Found(graph=_saved_model(saved.parent), example=example, signature=signature)
    _check_trust(trusted, "this MLflow model is loaded by MLflow, which runs its code")
    code = "import mlflow.pyfunc\n\n\nclass Model:\n    def load(self, folder):\n        self.model = mlflow.pyfunc.load_model(str(folder))\n\n"
    return Found(
        code=(
            code + "    def predict(self, frame):\n        return self.model.predict(frame)\n",
            "Model",
            folder,
        ),
        example=example,
        signature=signature,
    )


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
    if not isinstance(given, dict) or "data" not in given:
        return None
    return pd.DataFrame(given["data"], columns=given.get("columns"))


def _saved_model(folder: Path) -> bytes:
    """A TensorFlow SavedModel as a graph, by tf2onnx in a process of its own: it and TensorFlow want much of one."""
    with tempfile.TemporaryDirectory() as aside:
        to = Path(aside, "model.onnx")
        command = [
            sys.executable,
            "-m",
            "tf2onnx.convert",
            "--saved-model",
            str(folder),
            "--output",
            str(to),
            "--opset",
            "17",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if "No module named" in done.stderr:
            raise Invalid(
                "Reading a TensorFlow SavedModel needs tensorflow and tf2onnx: pip install tensorflow-cpu tf2onnx"
            )
        if done.returncode or not to.exists():
            said = [line for line in done.stderr.splitlines() if "Error" in line][-1:] or [
                "it said nothing"
            ]
            raise Invalid(f"tf2onnx could not convert '{folder}': {said[0][:300]}")
        return to.read_bytes()


def _keras(path: Path) -> Any:
    """On the backend that Keras is set to; on the one that is here where it is not."""
    there = [name for name in ("tensorflow", "torch", "jax") if importlib.util.find_spec(name)]
    if there:
        os.environ.setdefault("KERAS_BACKEND", there[0])
    return importlib.import_module("keras.saving").load_model(path)


def _torch(path: Path) -> Any:
    """A program that torch.export has saved: a graph, and no code of anybody's."""
    return importlib.import_module("torch.export").load(path).module()


def _torch_pickle(path: Path) -> Any:
    return importlib.import_module("torch").load(path, weights_only=False, map_location="cpu")


def _skops(path: Path) -> Any:
    io = importlib.import_module("skops.io")
    strange = io.get_untrusted_types(file=path)
    if strange:
        raise Invalid(f"'{path.name}' holds {', '.join(strange)}, which is not known to be safe.")
    return io.load(path, trusted=[])


def _xgboost(path: Path) -> Any:
    """XGBoost's own file, as the classifier or regressor that it says it is."""
    import xgboost

    booster = xgboost.Booster(model_file=str(path))
    objective = str(json.loads(booster.save_config())["learner"]["objective"]["name"])
    made = (
        xgboost.XGBClassifier()
        if objective.startswith(("binary:", "multi:"))
        else xgboost.XGBRegressor()
    )
    made.load_model(path)
    return made


def _lightgbm(path: Path) -> Any:
    """LightGBM's own text, behind the estimator that its objective is of."""
    import lightgbm

    booster = lightgbm.Booster(model_file=path)
    objective = str(booster.dump_model().get("objective", ""))
    kind = (
        lightgbm.LGBMClassifier
        if objective.startswith(("binary", "multiclass"))
        else lightgbm.LGBMRegressor
    )
    made = kind()
    made._Booster, made._n_features = booster, booster.num_feature()
    made.fitted_ = True
    if kind is lightgbm.LGBMClassifier:
        import numpy as np
        from sklearn.preprocessing import LabelEncoder

        made._n_classes = max(2, booster.num_model_per_iteration())
        made._le = LabelEncoder().fit(np.arange(made._n_classes))
        made._classes = made._le.classes_
        made._objective = objective.partition(" ")[0]
    return made


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
