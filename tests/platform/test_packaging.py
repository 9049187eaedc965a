"""``treadle package``: what other tools have saved is served, and answers as it did there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.semi_supervised import SelfTrainingClassifier
from xgboost import XGBClassifier, XGBRegressor

from tests import models
from tests.serving.clients.test_clients import serving
from treadle.data.profile import REFERENCE
from treadle.kernel.errors import Conflict, Invalid, NotFound, TreadleError
from treadle.platform.packaging import package
from treadle.platform.runtimes import Runtimes
from treadle.ports.runtime import open_model

ROOT = Path(__file__).parents[2]
NUMBERS = ["size", "weight"]


@pytest.fixture
def example(tmp_path: Path) -> Path:
    file = tmp_path / "example.parquet"
    models.rows()[NUMBERS].to_parquet(file)
    return file


def answers(folder: Path, *, trusted: bool = False) -> Any:
    signature, model = open_model(folder, Runtimes(trusted=trusted))
    rows = models.rows()
    table = {field.name: rows[field.name].to_numpy() for field in signature.inputs}
    return model.predict(signature.columns(table))


def test_a_pytorch_program(tmp_path: Path, example: Path) -> None:
    import torch

    module = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3), torch.nn.Softmax(1)
    ).eval()
    rows = torch.tensor(models.rows()[NUMBERS].to_numpy(np.float32))
    program = torch.export.export(
        module, (rows[:4],), dynamic_shapes=({0: torch.export.Dim("rows")},)
    )
    torch.export.save(program, tmp_path / "module.pt2")
    found = package(
        str(tmp_path / "module.pt2"), tmp_path / "m", example=example, classes=("a", "b", "c")
    )
    assert (found.runtime, found.output) == ("onnx", "probabilities")
    assert found.parity is not None and found.parity < 1e-5
    with torch.no_grad():
        np.testing.assert_allclose(answers(tmp_path / "m"), module(rows).numpy(), atol=1e-5)


def test_a_keras_file(tmp_path: Path, example: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)]
    )
    model.save(tmp_path / "model.keras")
    found = package(str(tmp_path / "model.keras"), tmp_path / "m", example=example)
    assert (found.runtime, found.output) == ("onnx", "value")
    expected = model.predict(models.rows()[NUMBERS].to_numpy(np.float32), verbose=0)
    np.testing.assert_allclose(answers(tmp_path / "m"), expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["two", "three", "regression"])
@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboosts_own_file(tmp_path: Path, example: Path, kind: str, suffix: str) -> None:
    rows = models.rows()
    target = {
        "two": rows["y"],
        "three": rows["colour"].map({"red": 0, "green": 1, "blue": 2}),
        "regression": rows["size"] * 2,
    }[kind]
    made = (XGBRegressor if kind == "regression" else XGBClassifier)(n_estimators=10).fit(
        rows[NUMBERS], target
    )
    made.save_model(tmp_path / f"model.{suffix}")
    package(str(tmp_path / f"model.{suffix}"), tmp_path / "m", example=example)
    expected = np.asarray(
        made.predict(rows[NUMBERS]) if kind == "regression" else made.predict_proba(rows[NUMBERS])
    )
    np.testing.assert_allclose(
        answers(tmp_path / "m"), expected[:, 1] if kind == "two" else expected, atol=1e-4
    )


def test_lightgbms_own_text(tmp_path: Path, example: Path) -> None:
    rows = models.rows()
    made = LGBMClassifier(n_estimators=10, verbose=-1).fit(rows[NUMBERS], rows["y"])
    made.booster_.save_model(tmp_path / "model.txt")
    package(str(tmp_path / "model.txt"), tmp_path / "m", example=example)
    expected = np.asarray(made.predict_proba(rows[NUMBERS]))
    np.testing.assert_allclose(answers(tmp_path / "m"), expected[:, 1], atol=1e-4)


def test_an_estimator_without_a_graph_is_kept_by_skops_and_needs_no_trust(
    tmp_path: Path, example: Path
) -> None:
    import skops.io

    rows = models.rows()
    made = SelfTrainingClassifier(LogisticRegression()).fit(rows[NUMBERS], rows["y"])
    skops.io.dump(made, tmp_path / "model.skops")
    found = package(str(tmp_path / "model.skops"), tmp_path / "m", example=example)
    assert found.runtime == "skops"
    np.testing.assert_allclose(
        answers(tmp_path / "m"), made.predict_proba(rows[NUMBERS])[:, 1], atol=1e-5
    )


def test_a_pickle_is_read_only_when_trusted_and_is_a_graph_afterwards(
    tmp_path: Path, example: Path
) -> None:
    import joblib

    joblib.dump(
        KNeighborsRegressor().fit(models.rows()[NUMBERS], models.rows()["size"]),
        tmp_path / "model.pkl",
    )
    with pytest.raises(Invalid, match=r"pickle, which runs what it holds.*--trust"):
        package(str(tmp_path / "model.pkl"), tmp_path / "m", example=example)
    assert not (tmp_path / "m").exists()
    assert (
        package(str(tmp_path / "model.pkl"), tmp_path / "m", example=example, trusted=True).runtime
        == "onnx"
    )


CLASS = """
import json

class Scorer:
    def load(self, folder):
        self.factor = json.loads((folder / "factor.json").read_text())

    def predict(self, frame):
        return frame["size"] * self.factor
"""


def test_a_python_class_is_served_only_where_it_is_trusted_by_name(
    tmp_path: Path, example: Path
) -> None:
    (tmp_path / "scorer.py").write_text(CLASS)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "factor.json").write_text("3")
    source, folder = f"{tmp_path / 'scorer.py'}:Scorer", tmp_path / "scorer"
    found = package(source, folder, example=example, files=tmp_path / "files", trusted=True)
    assert (found.runtime, found.inputs, found.output) == ("python", 2, "value")
    with pytest.raises(Invalid, match="where it is trusted"):
        answers(folder)
    np.testing.assert_allclose(answers(folder, trusted=True), models.rows()["size"] * 3, atol=1e-5)
    with serving(folder, "--trust", "scorer", state=tmp_path / "state") as url:
        told = httpx.post(f"{url}/invocations", json={"inputs": [[2.0, 0.0]]}).json()
    assert told == {"predictions": [6.0]}


def test_trust_in_one_package_is_none_in_another_of_the_same_endpoint(
    tmp_path: Path, example: Path
) -> None:
    (tmp_path / "scorer.py").write_text(CLASS)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "factor.json").write_text("3")
    source = f"{tmp_path / 'scorer.py'}:Scorer"
    for name in ("known", "foreign"):
        files = tmp_path / "files"
        package(source, tmp_path / name, example=example, files=files, trusted=True)
    runtimes = Runtimes(packages={"known"})
    for _ in range(2):  # in either order
        open_model(tmp_path / "known", runtimes)
        with pytest.raises(Invalid, match="where it is trusted"):
            open_model(tmp_path / "foreign", runtimes)


WRITE = """
import sys, mlflow, pandas as pd, pickle
from mlflow.models import infer_signature
frame = pd.DataFrame({"size": [0.0, 1.0, 2.0, 5.0], "weight": [1.0, 0.0, 3.0, 1.0]})
from sklearn.linear_model import LinearRegression, LogisticRegression
model = LinearRegression().fit(frame, [1.0, 3.0, 5.0, 11.0])
about = {"signature": infer_signature(frame, model.predict(frame)), "input_example": frame}
mlflow.sklearn.save_model(model, sys.argv[1], serialization_format=sys.argv[2], **about)
"""


@pytest.mark.parametrize(
    "client, format", [("mlflow3", "skops"), ("mlflow3", "cloudpickle"), ("mlflow2", "cloudpickle")]
)
def test_an_mlflow_model_folder_of_mlflows_own(tmp_path: Path, client: str, format: str) -> None:
    python = ROOT / ".clients" / client / "bin" / "python"
    command = [str(python), "-c", WRITE, str(tmp_path / "model"), format]
    subprocess.run(command, check=True, capture_output=True)
    if format == "cloudpickle":
        with pytest.raises(Invalid, match="--trust"):
            package(str(tmp_path / "model"), tmp_path / "m")
    found = package(str(tmp_path / "model"), tmp_path / "m", trusted=True)
    assert (found.runtime, found.inputs) == ("onnx", 2)
    np.testing.assert_allclose(answers(tmp_path / "m"), models.rows()["size"] * 2 + 1, atol=1e-4)
    assert (tmp_path / "m" / REFERENCE).is_file()


def test_an_onnx_file_gets_its_columns_names_from_the_example(
    tmp_path: Path, example: Path
) -> None:
    made = LinearRegression().fit(models.rows()[NUMBERS].to_numpy(), models.rows()["size"])
    graph = models.save(tmp_path / "saved", made, models.rows()[NUMBERS]) / "model.onnx"
    package(str(graph), tmp_path / "m", example=example)
    signature = json.loads((tmp_path / "m" / "signature.json").read_text())
    assert [field["name"] for field in signature["inputs"]] == NUMBERS


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("no.onnx", None, NotFound, "There is no"),
        ("model.bin", b"", Invalid, "known by its name"),
        ("model.json", b"{}", Invalid, "could not be read"),
        ("model.txt", b"tree", Invalid, "could not be read"),
        ("model.skops", b"no zip", Invalid, "could not be read"),
        ("model.onnx", b"nothing", Invalid, "not a model"),
        ("model.keras", b"nothing", Invalid, "could not be read"),
        ("model.pt2", b"nothing", Invalid, "could not be read"),
    ],
)
def test_what_is_no_model_is_told_in_one_sentence(
    tmp_path: Path,
    example: Path,
    name: str,
    content: bytes | None,
    error: type[TreadleError],
    message: str,
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        package(str(tmp_path / name), tmp_path / "m", example=example)
    assert not (tmp_path / "m").exists()


def test_what_needs_no_packaging_or_has_no_rows_is_told(tmp_path: Path, example: Path) -> None:
    made = models.save(tmp_path / "made", models.line(), models.rows()[NUMBERS])
    with pytest.raises(Invalid, match="is a model folder already"):
        package(str(made), tmp_path / "m")
    with pytest.raises(NotFound, match="example rows"):
        package(str(made / "model.onnx"), tmp_path / "m", example=tmp_path / "none.csv")
    example.write_bytes(b"no parquet")
    with pytest.raises(Invalid, match="no rows that can be read"):
        package(str(made / "model.onnx"), tmp_path / "m", example=example)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(Conflict):
        package("x.onnx", tmp_path / "m")


def test_the_command_tells_what_it_made(tmp_path: Path, example: Path) -> None:
    XGBRegressor(n_estimators=3).fit(models.rows()[NUMBERS], models.rows()["size"]).save_model(
        tmp_path / "model.ubj"
    )
    command = [
        sys.executable,
        "-m",
        "treadle",
        "package",
        str(tmp_path / "model.ubj"),
        "--to",
        str(tmp_path / "m"),
    ]
    lacking = subprocess.run(command, capture_output=True, text=True)
    assert lacking.returncode == 2
    assert "--example" in lacking.stderr
    done = subprocess.run(
        [*command, "--example", str(example), "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runtime"] == "onnx"
    assert pd.read_parquet(example).shape[1] == json.loads(done.stdout)["inputs"]
