"""Walks MLflow's protocol with the real client: ``CLIENT'S-PYTHON walk.py URL``. Prints one JSON
line per check.

A check that cannot be walked with a client raises ``LeftOut`` with the reason, which its line
tells.
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse
from pathlib import Path

os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]
os.environ["GIT_PYTHON_REFRESH"] = "quiet"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LogisticRegression

URL = sys.argv[1]
MAJOR = int(mlflow.__version__.partition(".")[0])
CLIENT = MlflowClient()
INPUTS = pd.DataFrame(np.random.default_rng(0).random((80, 3)), columns=list("abc"))
LABELS = (INPUTS.a > 0.5).astype(int)
NO_LOGGED_MODELS = "2.x has no logged models"


class LeftOut(Exception):
    """There is nothing to walk here with this client."""


def fails(code, message, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, code)
        assert message in str(error), str(error)
    else:
        raise AssertionError(f"{call} should fail with {code}")


def new_run(name="run"):
    experiment = CLIENT.get_experiment_by_name("walk") or CLIENT.get_experiment(
        CLIENT.create_experiment("walk")
    )
    return CLIENT.create_run(experiment.experiment_id, run_name=name)


def check_the_server_tells_who_it_is():
    assert requests.get(f"{URL}/health").text == "OK"
    assert tuple(map(int, requests.get(f"{URL}/version").text.split("."))) >= (3, 4)
    assert (
        requests.get(f"{URL}/api/3.0/mlflow/server-info").json()["multipart_uploads_enabled"]
        is True
    )


def check_experiments():
    id = CLIENT.create_experiment("first", tags={"team": "desk"})
    fails(
        "RESOURCE_ALREADY_EXISTS",
        "Experiment(name=first) already exists",
        CLIENT.create_experiment,
        "first",
    )
    assert CLIENT.get_experiment_by_name("first").tags == {"team": "desk"}
    assert CLIENT.get_experiment_by_name("nobody") is None
    CLIENT.set_experiment_tag(id, "k", "v")
    assert CLIENT.get_experiment(id).tags == {"team": "desk", "k": "v"}
    if hasattr(CLIENT, "delete_experiment_tag"):
        CLIENT.delete_experiment_tag(id, "k")
        assert "k" not in CLIENT.get_experiment(id).tags
    CLIENT.rename_experiment(id, "renamed")
    CLIENT.delete_experiment(id)
    assert CLIENT.get_experiment(id).lifecycle_stage == "deleted"
    assert id in [
        one.experiment_id for one in CLIENT.search_experiments(view_type=ViewType.DELETED_ONLY)
    ]
    CLIENT.restore_experiment(id)
    assert CLIENT.get_experiment(id).name == "renamed"
    for name in ("page-1", "page-2", "page-3"):
        CLIENT.create_experiment(name)
    page = CLIENT.search_experiments(
        filter_string="name LIKE 'page-%'", order_by=["name DESC"], max_results=2
    )
    assert [one.name for one in page] == ["page-3", "page-2"]
    rest = CLIENT.search_experiments(
        filter_string="name LIKE 'page-%'",
        order_by=["name DESC"],
        max_results=2,
        page_token=page.token,
    )
    assert [one.name for one in rest] == ["page-1"]
    assert not rest.token
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "No Experiment with id=99999 exists",
        CLIENT.get_experiment,
        "99999",
    )


def check_runs():
    run = new_run("named")
    id = run.info.run_id
    assert (run.info.run_name, run.info.status, run.info.lifecycle_stage) == (
        "named",
        "RUNNING",
        "active",
    )
    CLIENT.update_run(id, status="RUNNING", name="other")
    assert CLIENT.get_run(id).data.tags["mlflow.runName"] == "other"
    CLIENT.log_param(id, "depth", 3)
    CLIENT.log_param(id, "depth", 3)
    fails(
        "INVALID_PARAMETER_VALUE",
        "Changing param values is not allowed",
        CLIENT.log_param,
        id,
        "depth",
        4,
    )
    CLIENT.set_tag(id, "a", "1")
    CLIENT.set_tag(id, "a", "2")
    CLIENT.delete_tag(id, "a")
    fails("RESOURCE_DOES_NOT_EXIST", "No tag with name: a", CLIENT.delete_tag, id, "a")
    CLIENT.set_terminated(id, "FAILED", end_time=1_763_600_000_000)
    found = CLIENT.get_run(id)
    assert (found.info.status, found.info.end_time) == ("FAILED", 1_763_600_000_000)
    CLIENT.delete_run(id)
    fails("INVALID_PARAMETER_VALUE", "must be in the 'active' state", CLIENT.log_param, id, "x", 1)
    CLIENT.restore_run(id)
    assert CLIENT.get_run(id).info.lifecycle_stage == "active"
    fails("RESOURCE_DOES_NOT_EXIST", "Run with id=nope not found", CLIENT.get_run, "nope")
    fails(
        "RESOURCE_DOES_NOT_EXIST", "Run with id=nope not found", CLIENT.log_metric, "nope", "a", 1.0
    )
    mlflow.set_experiment("walk")
    with mlflow.start_run() as parent, mlflow.start_run(nested=True) as child:
        pass
    assert CLIENT.get_run(child.info.run_id).data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert CLIENT.get_parent_run(child.info.run_id).info.run_id == parent.info.run_id


def check_metrics_come_back_as_they_were():
    id = new_run().info.run_id
    for value, step in [
        (1.0, 0),
        (math.nan, 1),
        (math.inf, 2),
        (-math.inf, 2),
        (0.5, -3),
        (0.5, -3),
    ]:
        CLIENT.log_metric(id, "m", value, step=step, timestamp=1_763_600_000_000 + step)
    history = CLIENT.get_metric_history(id, "m")
    assert [point.step for point in history] == [-3, 0, 1, 2, 2]
    assert math.isnan(history[2].value)
    assert {history[3].value, history[4].value} == {math.inf, -math.inf}
    assert CLIENT.get_run(id).data.metrics["m"] in (math.inf, -math.inf)
    metrics = [Metric("many", i / 7, 1_763_600_000_000 + i, i) for i in range(1000)]
    CLIENT.log_batch(
        id,
        metrics,
        [Param(f"p{i}", str(i)) for i in range(100)],
        [RunTag(f"t{i}", str(i)) for i in range(100)],
    )
    assert [point.value for point in CLIENT.get_metric_history(id, "many")] == [
        i / 7 for i in range(1000)
    ]
    data = CLIENT.get_run(id).data
    assert (len(data.params), data.metrics["many"], data.tags["t99"]) == (100, 999 / 7, "99")
    assert CLIENT.get_metric_history(id, "nobody") == []
    assert mlflow.MlflowClient().get_run(id).data.params["p7"] == "7"


def check_metrics_in_bulk():
    id = new_run().info.run_id
    CLIENT.log_batch(id, [Metric("m", float(i), i, i) for i in range(900)])
    base = f"{URL}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval"
    found = requests.get(
        base, params={"run_ids": [id], "metric_key": "m", "max_results": 50}
    ).json()["metrics"]
    assert len(found) <= 52
    assert {0, 899} <= {point["step"] for point in found}
    some = requests.get(
        base, params={"run_ids": [id], "metric_key": "m", "start_step": 10, "end_step": 12}
    ).json()["metrics"]
    assert [point["step"] for point in some] == [10, 11, 12]
    page = requests.get(
        f"{URL}/api/2.0/mlflow/metrics/get-history",
        params={"run_id": id, "metric_key": "m", "max_results": 500},
    )
    assert len(page.json()["metrics"]) == 500
    assert page.json()["next_page_token"]


def check_asynchronous_logging():
    mlflow.set_experiment("walk")
    with mlflow.start_run() as run:
        for step in range(50):
            mlflow.log_metric("async", step, step=step, synchronous=False)
        mlflow.log_params({"x": 1}, synchronous=False)
    mlflow.flush_async_logging()
    assert len(CLIENT.get_metric_history(run.info.run_id, "async")) == 50


def check_inputs():
    mlflow.set_experiment("walk")
    with mlflow.start_run() as run:
        mlflow.log_input(mlflow.data.from_pandas(INPUTS, name="rows"), context="training")
    (used,) = CLIENT.get_run(run.info.run_id).inputs.dataset_inputs
    assert (used.dataset.name, used.tags[0].value) == ("rows", "training")
    found = mlflow.search_runs(
        experiment_names=["walk"], filter_string="dataset.name = 'rows'", output_format="list"
    )
    assert [one.info.run_id for one in found] == [run.info.run_id]


def check_search():
    experiment = CLIENT.create_experiment("search")
    ids = []
    for place in range(7):
        run = CLIENT.create_run(
            experiment, run_name=f"r{place}", start_time=1_763_600_000_000 + place
        )
        CLIENT.log_batch(
            run.info.run_id,
            [Metric("loss", place / 10, 0, 0)] if place else [],
            [Param("opt", "adam" if place % 2 else "SGD")],
            [RunTag("team", "desk")] if place > 3 else [],
        )
        CLIENT.set_terminated(run.info.run_id, "FINISHED" if place < 5 else "FAILED")
        ids.append(run.info.run_id)

    def names(filter="", order=(), view=ViewType.ACTIVE_ONLY):
        return "".join(
            r.info.run_name[1:]
            for r in CLIENT.search_runs([experiment], filter, view, order_by=list(order))
        )

    expected = {
        "": "6543210",
        "metrics.loss > 0.35": "654",
        "metrics.loss <= 0.2 and params.opt = 'adam'": "1",
        "params.opt LIKE 'a%'": "531",
        "params.opt ILIKE 's%'": "6420",
        "tags.team = 'desk' AND attributes.status = 'FINISHED'": "4",
        "tags.team != 'x'": "654",
        "attributes.run_name LIKE 'r1%'": "1",
        "run_name = 'r2'": "2",
        "start_time >= 1763600000005": "65",
        "status != 'FINISHED'": "65",
        'params."opt" = "SGD" and metrics.`loss` < 0.5': "42",
        f"attributes.run_id IN ('{ids[1]}', '{ids[4]}')": "41",
        f"run_id NOT IN ('{ids[1]}')": "654320",
    }
    for filter, wanted in expected.items():
        assert names(filter) == wanted, (filter, names(filter), wanted)
    assert names(order=["metrics.loss ASC"]) == "1234560"
    assert names(order=["metrics.loss DESC"]) == "6543210"
    assert names(order=["params.opt ASC", "start_time ASC"]) == "0246135"
    assert names("metrics.loss < 0.25 or (not params.opt = 'adam' and status = 'FAILED')") == "621"
    found, token = "", None
    while True:
        page = CLIENT.search_runs(
            [experiment], order_by=["metrics.loss DESC"], max_results=3, page_token=token
        )
        found, token = found + "".join(r.info.run_name[1:] for r in page), page.token
        if not token:
            break
    assert found == "6543210"
    CLIENT.delete_run(ids[0])
    assert names(view=ViewType.DELETED_ONLY) == "0"
    assert len(names(view=ViewType.ALL)) == 7
    fails(
        "INVALID_PARAMETER_VALUE",
        "'<' at character 16",
        CLIENT.search_runs,
        [experiment],
        "metrics.loss > < 3",
    )
    assert len(mlflow.search_runs([experiment])) == 6


def check_artifacts():
    run = new_run()
    id = run.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        deep = Path(folder) / "a" / "b"
        deep.mkdir(parents=True)
        (deep / "grün ½.txt").write_text("hello")
        (deep / "empty").write_bytes(b"")
        (Path(folder) / "big.bin").write_bytes(bytes(range(256)) * 20_000)
        CLIENT.log_artifacts(id, folder, "up")
        CLIENT.log_text(id, "text", "note.txt")
    assert [(f.path, f.is_dir) for f in CLIENT.list_artifacts(id)] == [
        ("note.txt", False),
        ("up", True),
    ]
    assert {f.path: f.file_size for f in CLIENT.list_artifacts(id, "up/a/b")} == {
        "up/a/b/empty": 0,
        "up/a/b/grün ½.txt": 5,
    }
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(
            mlflow.artifacts.download_artifacts(run_id=id, artifact_path="up", dst_path=folder)
        )
        assert (whole / "a" / "b" / "grün ½.txt").read_text() == "hello"
        assert (whole / "big.bin").read_bytes() == bytes(range(256)) * 20_000
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    get_artifact_repository(run.info.artifact_uri).delete_artifacts("up")
    assert [f.path for f in CLIENT.list_artifacts(id)] == ["note.txt"]


def check_uploads_in_parts():
    content = os.urandom(3_000_000)
    run = new_run()
    path = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    base = f"{URL}/api/2.0/mlflow-artifacts/mpu"
    begun = requests.post(f"{base}/create/{path}", json={"path": "big.bin", "num_parts": 3}).json()
    parts = []
    for place in begun["credentials"]:
        number = place["part_number"]
        sent = requests.put(
            place["url"],
            data=content[(number - 1) * 1_000_000 : number * 1_000_000],
            headers=place["headers"],
        )
        parts.append({"part_number": number, "etag": sent.headers["ETag"], "url": place["url"]})
    done = {"path": "big.bin", "upload_id": begun["upload_id"], "parts": parts}
    assert requests.post(f"{base}/complete/{path}", json=done).status_code == 200
    with tempfile.TemporaryDirectory() as folder:
        file = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="big.bin", dst_path=folder
        )
        assert Path(file).read_bytes() == content
    begun = requests.post(f"{base}/create/{path}", json={"path": "no.bin", "num_parts": 1}).json()
    assert (
        requests.post(
            f"{base}/abort/{path}", json={"path": "no.bin", "upload_id": begun["upload_id"]}
        ).status_code
        == 200
    )


def check_autologging_and_a_model_from_log_to_load():
    mlflow.set_experiment("walk")
    mlflow.sklearn.autolog(log_datasets=False)
    with mlflow.start_run() as run:
        model = LogisticRegression().fit(INPUTS, LABELS)
    mlflow.sklearn.autolog(disable=True)
    found = CLIENT.get_run(run.info.run_id)
    assert found.data.params["C"] == "1.0"
    assert "training_accuracy_score" in found.data.metrics
    with mlflow.start_run():
        named = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
        info = mlflow.sklearn.log_model(
            model, **named, registered_model_name="desk", input_example=INPUTS[:2]
        )
    CLIENT.set_registered_model_alias("desk", "prod", "1")
    for uri in (info.model_uri, "models:/desk@prod", "models:/desk/1"):
        assert (mlflow.sklearn.load_model(uri).predict(INPUTS) == model.predict(INPUTS)).all()
        assert (mlflow.pyfunc.load_model(uri).predict(INPUTS) == model.predict(INPUTS)).all()
    assert mlflow.pyfunc.load_model("models:/desk@prod").metadata.signature is not None


class Doubles(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input * 2


def check_a_python_model_round_trip():
    mlflow.set_experiment("walk")
    with mlflow.start_run():
        named = {"name": "python"} if MAJOR >= 3 else {"artifact_path": "python"}
        info = mlflow.pyfunc.log_model(python_model=Doubles(), **named)
    assert mlflow.pyfunc.load_model(info.model_uri).predict(INPUTS).equals(INPUTS * 2)


def _flavour(name, make, native):
    module = importlib.import_module(f"mlflow.{name}")
    mlflow.set_experiment("walk")
    with mlflow.start_run():
        named = {"name": name} if MAJOR >= 3 else {"artifact_path": name}
        info = module.log_model(make(), **named)
    loaded = mlflow.pyfunc.load_model(info.model_uri).predict(INPUTS.astype("float32"))
    assert np.allclose(
        np.asarray(native(loaded)).ravel(), np.asarray(EXPECTED[name]).ravel(), atol=1e-5
    )


EXPECTED = {}


def _lightgbm():
    import lightgbm

    model = lightgbm.train(
        {"verbose": -1, "objective": "binary"}, lightgbm.Dataset(INPUTS, LABELS), 5
    )
    EXPECTED["lightgbm"] = model.predict(INPUTS.astype("float32"))
    return model


def _xgboost():
    import xgboost

    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(INPUTS, LABELS), 5)
    EXPECTED["xgboost"] = model.predict(xgboost.DMatrix(INPUTS.astype("float32")))
    return model


def check_lightgbm_and_xgboost_round_trips():
    if MAJOR < 3:
        raise LeftOut("the environment of 2.x is kept small")
    _flavour("lightgbm", _lightgbm, lambda found: found)
    _flavour("xgboost", _xgboost, lambda found: found)


def check_a_pytorch_round_trip():
    if importlib.util.find_spec("torch") is None:
        raise LeftOut("PyTorch is too large to be installed for a test; where it is, this runs")
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    inputs = INPUTS.astype("float32").to_numpy()
    wanted = model(torch.tensor(inputs)).detach().numpy()
    mlflow.set_experiment("walk")
    with mlflow.start_run():
        info = importlib.import_module("mlflow.pytorch").log_model(
            model, name="torch", input_example=inputs
        )
    version = mlflow.register_model(info.model_uri, "torch-model")
    MlflowClient().set_registered_model_alias("torch-model", "prod", version.version)
    found = mlflow.pyfunc.load_model("models:/torch-model@prod").predict(inputs)
    assert np.allclose(found, wanted, atol=1e-5)


def check_an_onnx_round_trip():
    if MAJOR < 3:
        raise LeftOut("the environment of 2.x is kept small")
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Add", ["x", "x"], ["y"])
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 3]) for name in ("x", "y")
    ]
    graph = helper.make_model(
        helper.make_graph([node], "g", shapes[:1], shapes[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    graph.ir_version = 9
    onnx.checker.check_model(graph)
    mlflow.set_experiment("walk")
    with mlflow.start_run():
        info = importlib.import_module("mlflow.onnx").log_model(graph, name="onnx")
    found = mlflow.pyfunc.load_model(info.model_uri).predict(INPUTS.astype("float32").to_numpy())
    assert np.allclose(found["y"], INPUTS.to_numpy() * 2, atol=1e-5)


def check_logged_models():
    if MAJOR < 3:
        raise LeftOut(NO_LOGGED_MODELS)
    experiment = CLIENT.create_experiment("models")
    run = CLIENT.create_run(experiment)
    made = CLIENT.create_logged_model(
        experiment, name="m1", source_run_id=run.info.run_id, params={"a": "1"}, tags={"t": "x"}
    )
    other = CLIENT.create_logged_model(experiment, name="m2")
    CLIENT.finalize_logged_model(made.model_id, "READY")
    CLIENT.set_logged_model_tags(made.model_id, {"u": "y"})
    CLIENT.delete_logged_model_tag(made.model_id, "t")
    CLIENT.log_metric(
        run.info.run_id,
        "acc",
        0.9,
        model_id=made.model_id,
        dataset_name="rows",
        dataset_digest="d1",
    )
    found = CLIENT.get_logged_model(made.model_id)
    assert (found.name, found.status.value, found.tags["u"], found.params) == (
        "m1",
        "READY",
        "y",
        {"a": "1"},
    )
    assert (found.metrics[0].key, found.metrics[0].value) == ("acc", 0.9)
    search = CLIENT.search_logged_models
    assert [m.name for m in search([experiment], filter_string="metrics.acc > 0.5")] == ["m1"]
    assert [m.name for m in search([experiment], filter_string="name = 'm2'")] == ["m2"]
    order = [{"field_name": "name", "ascending": False}]
    assert [m.name for m in search([experiment], order_by=order)] == ["m2", "m1"]
    assert [
        m.name
        for m in search(
            [experiment], filter_string="metrics.acc > 0.5", datasets=[{"dataset_name": "other"}]
        )
    ] == []
    CLIENT.log_outputs(run.info.run_id, [mlflow.entities.LoggedModelOutput(made.model_id, step=3)])
    assert CLIENT.get_run(run.info.run_id).outputs.model_outputs[0].model_id == made.model_id
    CLIENT.delete_logged_model(other.model_id)
    fails("RESOURCE_DOES_NOT_EXIST", other.model_id, CLIENT.get_logged_model, other.model_id)


def check_registry():
    CLIENT.create_registered_model("reg", tags={"a": "b"}, description="said")
    fails(
        "RESOURCE_ALREADY_EXISTS",
        "Registered Model (name=reg) already exists",
        CLIENT.create_registered_model,
        "reg",
    )
    for number in (1, 2):
        made = CLIENT.create_model_version(
            "reg", f"s3://bucket/{number}", tags={"n": str(number)}, await_creation_for=0
        )
        assert made.version in (number, str(number))
    CLIENT.update_registered_model("reg", "new")
    CLIENT.set_registered_model_tag("reg", "c", "d")
    CLIENT.delete_registered_model_tag("reg", "a")
    model = CLIENT.get_registered_model("reg")
    assert (model.description, model.tags) == ("new", {"c": "d"})
    CLIENT.update_model_version("reg", "1", "described")
    CLIENT.set_model_version_tag("reg", "1", "k", "v")
    CLIENT.delete_model_version_tag("reg", "1", "n")
    version = CLIENT.get_model_version("reg", "1")
    assert (version.description, version.tags, version.source) == (
        "described",
        {"k": "v"},
        "s3://bucket/1",
    )
    assert CLIENT.get_model_version_download_uri("reg", "1") == "s3://bucket/1"
    CLIENT.set_registered_model_alias("reg", "champ", "2")
    assert str(CLIENT.get_model_version_by_alias("reg", "champ").version) == "2"
    CLIENT.set_registered_model_alias("reg", "champ", "1")
    assert CLIENT.get_registered_model("reg").aliases in ({"champ": "1"}, {"champ": 1})
    CLIENT.delete_registered_model_alias("reg", "champ")
    fails(
        "INVALID_PARAMETER_VALUE",
        "Registered model alias champ not found",
        CLIENT.get_model_version_by_alias,
        "reg",
        "champ",
    )
    CLIENT.transition_model_version_stage("reg", "1", "Production")
    CLIENT.transition_model_version_stage("reg", "2", "Production", archive_existing_versions=True)
    assert [str(v.version) for v in CLIENT.get_latest_versions("reg", ["Production"])] == ["2"]
    assert CLIENT.get_model_version("reg", "1").current_stage == "Archived"
    assert "reg" in [m.name for m in CLIENT.search_registered_models("name LIKE 'r%'")]
    assert "reg" in [m.name for m in CLIENT.search_registered_models()]
    assert [m.name for m in CLIENT.search_registered_models("tags.c = 'd'")] == ["reg"]
    assert sorted(str(v.version) for v in CLIENT.search_model_versions("name = 'reg'")) == [
        "1",
        "2",
    ]
    copied = CLIENT.copy_model_version("models:/reg/1", "copy")
    assert CLIENT.get_model_version("copy", copied.version).source == "models:/reg/1"
    CLIENT.delete_model_version("reg", "2")
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "Model Version (name=reg, version=2) not found",
        CLIENT.get_model_version,
        "reg",
        "2",
    )
    assert (
        str(CLIENT.create_model_version("reg", "s3://bucket/3", await_creation_for=0).version)
        == "3"
    )
    CLIENT.rename_registered_model("reg", "renamed")
    CLIENT.delete_registered_model("renamed")
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "Registered Model with name=renamed not found",
        CLIENT.get_registered_model,
        "renamed",
    )
    CLIENT.create_registered_model("reg")


def check_webhooks():
    if not hasattr(CLIENT, "create_webhook"):
        raise LeftOut("2.x has no webhooks")
    told = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    events = [
        "registered_model.created",
        "model_version.created",
        "model_version_alias.created",
        "model_version_tag.set",
    ]
    address = f"http://127.0.0.1:{listener.server_port}/hook"
    made = CLIENT.create_webhook(name="w", url=address, events=events, secret="s3cret")
    assert CLIENT.test_webhook(made.webhook_id).success
    CLIENT.create_registered_model("hooked")
    CLIENT.create_model_version("hooked", "s3://b/1", await_creation_for=0)
    CLIENT.set_registered_model_alias("hooked", "prod", "1")
    CLIENT.set_model_version_tag("hooked", "1", "k", "v")
    until = time.monotonic() + 180
    while len(told) < 5 and time.monotonic() < until:
        time.sleep(0.1)
    kinds = [f"{json.loads(body)['entity']}.{json.loads(body)['action']}" for _, body in told]
    assert kinds == ["registered_model.created", *events], kinds
    for headers, body in told:
        sent = (headers["X-MLflow-Delivery-Id"], headers["X-MLflow-Timestamp"], body.decode())
        signed = ".".join(sent).encode()
        wanted = base64.b64encode(hmac.new(b"s3cret", signed, hashlib.sha256).digest()).decode()
        assert headers["X-MLflow-Signature"] == f"v1,{wanted}"
    assert CLIENT.update_webhook(made.webhook_id, status="DISABLED").status.value == "DISABLED"
    assert [one.webhook_id for one in CLIENT.list_webhooks()] == [made.webhook_id]
    CLIENT.delete_webhook(made.webhook_id)


def check_traces():
    if MAJOR < 3:
        raise LeftOut("the spans of 2.x are not walked")
    mlflow.set_experiment("traces")

    @mlflow.trace
    def inner(x):
        return x + 1

    @mlflow.trace
    def outer(x):
        return inner(x) * 2

    outer(3)
    mlflow.flush_trace_async_logging()
    until = time.monotonic() + 180
    while not (found := mlflow.search_traces(return_type="list")) and time.monotonic() < until:
        time.sleep(0.2)
    (trace,) = found
    assert [(span.name, span.outputs) for span in trace.data.spans] == [("outer", 8), ("inner", 4)]
    id = trace.info.trace_id
    mlflow.set_trace_tag(id, "k", "v")
    mlflow.log_feedback(trace_id=id, name="good", value=True)
    again = mlflow.get_trace(id)
    assert (again.info.tags["k"], again.info.assessments[0].name) == ("v", "good")
    # The client sends a trace's status after its spans, when it gets to it.
    wanted = "trace.status = 'OK' AND tags.k = 'v'"
    while not mlflow.search_traces(filter_string=wanted, return_type="list"):
        assert time.monotonic() < until, mlflow.get_trace(id).info
        time.sleep(0.2)
    assert not mlflow.search_traces(filter_string="trace.status = 'ERROR'", return_type="list")
    assert CLIENT.delete_traces(experiment_id=trace.info.experiment_id, trace_ids=[id]) == 1


def check_experiments_by_tag_and_what_is_refused_of_them():
    red = CLIENT.create_experiment("tagged-red", tags={"colour": "red"})
    blue = CLIENT.create_experiment("tagged-blue", tags={"colour": "blue"})
    found = CLIENT.search_experiments(filter_string="tags.colour = 'red'")
    assert [one.experiment_id for one in found] == [red]
    found = CLIENT.search_experiments(filter_string="name LIKE 'tagged-%'", order_by=["name ASC"])
    assert [one.experiment_id for one in found] == [blue, red]
    CLIENT.delete_experiment(red)
    other = CLIENT.create_experiment("tagged-other")
    fails(
        "RESOURCE_ALREADY_EXISTS", "already exists", CLIENT.rename_experiment, other, "tagged-blue"
    )
    fails("INVALID_PARAMETER_VALUE", "must be in the 'active' state", CLIENT.create_run, red)
    fails(
        "RESOURCE_DOES_NOT_EXIST", "No Experiment with id=99999 exists", CLIENT.create_run, "99999"
    )


def check_a_batch_has_limits():
    id = new_run().info.run_id
    post = f"{URL}/api/2.0/mlflow/runs/log-batch"
    for body in (
        {"metrics": [{"key": "m", "value": 1.0, "timestamp": 1, "step": n} for n in range(1001)]},
        {"params": [{"key": f"p{n}", "value": "1"} for n in range(101)]},
        {"tags": [{"key": f"t{n}", "value": "1"} for n in range(101)]},
        {"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "2"}]},
    ):
        answer = requests.post(post, json={"run_id": id, **body})
        assert (answer.status_code, answer.json()["error_code"]) == (
            400,
            "INVALID_PARAMETER_VALUE",
        ), answer.text
    assert CLIENT.get_run(id).data.params == {}
    assert CLIENT.get_run(id).data.metrics == {}
    CLIENT.log_param(id, "long", "x" * 6000)
    assert CLIENT.get_run(id).data.params["long"] == "x" * 6000


def check_a_history_comes_in_pages_to_the_client():
    id = new_run().info.run_id
    for start in range(0, 3000, 1000):
        CLIENT.log_batch(
            id,
            [Metric("m", float(n), 1_763_600_000_000 + n, n) for n in range(start, start + 1000)],
        )
    store = CLIENT._tracking_client.store
    seen, token = [], None
    while True:
        page = store.get_metric_history(id, "m", max_results=1300, page_token=token)
        seen += [point.step for point in page]
        token = page.token
        if not token:
            break
    assert seen == list(range(3000))
    both = {"run_ids": [id], "metric_key": "m", "start_step": 1}
    answer = requests.get(
        f"{URL}/ajax-api/2.0/mlflow/metrics/get-history-bulk-interval", params=both
    )
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def check_pages_of_runs_miss_and_repeat_none():
    experiment = CLIENT.create_experiment("pages")
    ids = [
        CLIENT.create_run(experiment, start_time=1_763_600_000_000).info.run_id for _ in range(11)
    ]
    for place, id in enumerate(ids):
        CLIENT.log_metric(id, "same", place // 4)
    for order in ([], ["metrics.same ASC"], ["metrics.same DESC", "start_time ASC"]):
        seen, token = [], None
        while True:
            page = CLIENT.search_runs([experiment], max_results=3, order_by=order, page_token=token)
            seen += [run.info.run_id for run in page]
            token = page.token
            if not token:
                break
        assert sorted(seen) == sorted(ids), order


def check_inputs_keep_what_is_known_of_a_dataset():
    id = new_run().info.run_id
    data = mlflow.data.from_pandas(INPUTS.assign(y=LABELS), name="table", targets="y")
    from mlflow.entities import DatasetInput, InputTag

    CLIENT.log_inputs(
        id, [DatasetInput(data._to_mlflow_entity(), [InputTag("mlflow.data.context", "eval")])]
    )
    CLIENT.log_inputs(
        id, [DatasetInput(data._to_mlflow_entity(), [InputTag("mlflow.data.context", "eval")])]
    )
    (used,) = CLIENT.get_run(id).inputs.dataset_inputs
    assert used.dataset.digest == data.digest
    assert json.loads(used.dataset.schema) == json.loads(data._to_mlflow_entity().schema)
    assert json.loads(used.dataset.profile)["num_rows"] == len(INPUTS)
    assert [(tag.key, tag.value) for tag in used.tags] == [("mlflow.data.context", "eval")]
    named = [CLIENT.get_run(id).info.experiment_id]
    for filter in (f"dataset.digest = '{data.digest}'", "dataset.context = 'eval'"):
        assert [run.info.run_id for run in CLIENT.search_runs(named, filter)] == [id], filter


def asked_raw(method, path):
    """The status of a request whose path is sent as it stands, untouched by any library."""
    place = urllib.parse.urlsplit(URL)
    connection = http.client.HTTPConnection(place.hostname, place.port)
    try:
        connection.request(method, path, body=b"x" if method == "PUT" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def check_paths_that_climb_are_refused():
    run = new_run()
    root = run.info.artifact_uri.removeprefix("mlflow-artifacts:/")
    base = "/api/2.0/mlflow-artifacts/artifacts"
    climbing = ("../../x", "a/../../../x", "..%2f..%2fx", "%2e%2e/x", "a/%2e%2e%2f%2e%2e/x")
    asked = [
        (method, f"{base}/{root}/{path}")
        for method in ("GET", "PUT", "DELETE")
        for path in climbing
    ]
    asked.append(("GET", f"{base}?path={root}/../../x"))
    asked.append(("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run.info.run_id}&path=../../x"))
    statuses = {one: asked_raw(*one) for one in asked}
    assert set(statuses.values()) == {400}, statuses
    assert asked_raw("GET", f"{base}/{root}/nobody.txt") == 404


def check_the_client_uploads_large_files_in_parts():
    code = """
import os, sys
import mlflow
from mlflow.store.artifact.http_artifact_repo import HttpArtifactRepository
from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
calls = []
for name in ("create_multipart_upload", "complete_multipart_upload"):
    whole = getattr(HttpArtifactRepository, name)
    def noted(self, *given, _whole=whole, _name=name, **named):
        calls.append(_name)
        return _whole(self, *given, **named)
    setattr(HttpArtifactRepository, name, noted)
client = mlflow.MlflowClient()
run = client.create_run("0")
open("large.bin", "wb").write(bytes(range(256)) * 50_000)
client.log_artifact(run.info.run_id, "large.bin", "deep")
back = mlflow.artifacts.download_artifacts(
    run_id=run.info.run_id, artifact_path="deep/large.bin", dst_path="back"
)
assert open(back, "rb").read() == bytes(range(256)) * 50_000
assert calls == ["create_multipart_upload", "complete_multipart_upload"], calls
"""
    forced = {
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        "MLFLOW_MULTIPART_UPLOAD_MINIMUM_FILE_SIZE": str(5 << 20),
        "MLFLOW_MULTIPART_UPLOAD_CHUNK_SIZE": str(5 << 20),
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "back").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            env=os.environ | forced,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stderr[-1200:]


def check_logged_models_in_pages_and_with_late_params():
    if MAJOR < 3:
        raise LeftOut(NO_LOGGED_MODELS)
    experiment = CLIENT.create_experiment("many models")
    run = CLIENT.create_run(experiment).info.run_id
    for place in range(5):
        made = CLIENT.create_logged_model(experiment, name=f"n{place}", source_run_id=run)
        CLIENT.log_metric(
            run, "acc", place / 10, model_id=made.model_id, dataset_name="d", dataset_digest="1"
        )
    CLIENT.log_model_params(made.model_id, {"late": "1"})
    assert CLIENT.get_logged_model(made.model_id).params == {"late": "1"}
    order = [{"field_name": "metrics.acc", "ascending": False}]
    seen, token = [], None
    while True:
        page = CLIENT.search_logged_models(
            [experiment], order_by=order, max_results=2, page_token=token
        )
        seen += [model.name for model in page]
        token = page.token
        if not token:
            break
    assert seen == ["n4", "n3", "n2", "n1", "n0"], seen
    on = CLIENT.search_logged_models(
        [experiment],
        filter_string="metrics.acc > 0.25",
        datasets=[{"dataset_name": "d", "dataset_digest": "1"}],
    )
    assert sorted(model.name for model in on) == ["n3", "n4"]
    other = CLIENT.search_logged_models(
        [experiment],
        filter_string="metrics.acc > 0.25",
        datasets=[{"dataset_name": "d", "dataset_digest": "2"}],
    )
    assert list(other) == [], [model.name for model in other]
    assert (
        CLIENT.search_logged_models([experiment], filter_string="params.late = '1'")[0].name == "n4"
    )
    CLIENT.finalize_logged_model(made.model_id, "FAILED")
    assert CLIENT.get_logged_model(made.model_id).status.value == "FAILED"


def check_searches_of_the_registry():
    for place in range(5):
        CLIENT.create_registered_model(f"find-{place}", tags={"odd": str(place % 2)})
    prompt = {"name": "find-prompt", "tags": [{"key": "mlflow.prompt.is_prompt", "value": "true"}]}
    assert (
        requests.post(f"{URL}/api/2.0/mlflow/registered-models/create", json=prompt).status_code
        == 200
    )
    named = "name LIKE 'find-%'"
    assert [m.name for m in CLIENT.search_registered_models(named)] == [
        f"find-{n}" for n in range(5)
    ]
    seen, token = [], None
    while True:
        page = CLIENT.search_registered_models(
            named, max_results=2, order_by=["name DESC"], page_token=token
        )
        seen += [model.name for model in page]
        token = page.token
        if not token:
            break
    assert seen == [f"find-{n}" for n in (4, 3, 2, 1, 0)], seen
    assert [m.name for m in CLIENT.search_registered_models(named + " AND tags.odd = '1'")] == [
        "find-1",
        "find-3",
    ]
    run = new_run().info.run_id
    for place in range(3):
        CLIENT.create_model_version(
            "find-0", f"s3://b/{place}", run_id=run, await_creation_for=0, tags={"n": str(place)}
        )
    versions = CLIENT.search_model_versions
    assert {str(v.version) for v in versions(f"run_id = '{run}'")} == {"1", "2", "3"}
    assert [
        str(v.version) for v in versions("name = 'find-0'", order_by=["version_number ASC"])
    ] == ["1", "2", "3"]
    assert [str(v.version) for v in versions("name = 'find-0' AND tags.n = '1'")] == ["2"]
    assert [str(v.version) for v in versions("source_path = 's3://b/2'")] == ["3"]
    page = versions("name = 'find-0'", max_results=2)
    assert (
        len(page) == 2
        and len(versions("name = 'find-0'", max_results=2, page_token=page.token)) == 1
    )


def check_what_the_registry_refuses():
    CLIENT.create_registered_model("strict")
    CLIENT.create_registered_model("taken")
    CLIENT.create_model_version("strict", "s3://b/1", await_creation_for=0)
    fails(
        "RESOURCE_ALREADY_EXISTS",
        "already exists",
        CLIENT.rename_registered_model,
        "strict",
        "taken",
    )
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "Registered Model with name=lost not found",
        CLIENT.get_registered_model,
        "lost",
    )
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "Registered Model with name=lost not found",
        CLIENT.get_latest_versions,
        "lost",
    )
    fails(
        "RESOURCE_DOES_NOT_EXIST", "name=strict, version=9", CLIENT.get_model_version, "strict", "9"
    )
    fails(
        "RESOURCE_DOES_NOT_EXIST",
        "name=strict, version=9",
        CLIENT.set_registered_model_alias,
        "strict",
        "a",
        "9",
    )
    fails(
        "INVALID_PARAMETER_VALUE",
        "Invalid Model Version stage",
        CLIENT.transition_model_version_stage,
        "strict",
        "1",
        "Moon",
    )
    fails(
        "INVALID_PARAMETER_VALUE",
        "alias name",
        CLIENT.set_registered_model_alias,
        "strict",
        "v1",
        "1",
    )
    fails("INVALID_PARAMETER_VALUE", "", CLIENT.create_registered_model, "")


def check_a_server_answers_as_upstream_to_what_is_wrong():
    lost = requests.get(f"{URL}/api/2.0/mlflow/runs/get", params={"run_id": "nope"})
    assert (lost.status_code, lost.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert lost.json()["message"] == "Run with id=nope not found"
    twice = requests.post(f"{URL}/api/2.0/mlflow/experiments/create", json={"name": "first-twice"})
    twice = requests.post(f"{URL}/api/2.0/mlflow/experiments/create", json={"name": "first-twice"})
    assert (twice.status_code, twice.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    old = new_run().info.run_id
    assert (
        requests.get(
            f"{URL}/api/2.0/mlflow/runs/get", params={"run_uuid": old, "unknown": "x"}
        ).status_code
        == 200
    )


def check_logged_models_in_order_of_a_metric_on_one_dataset():
    if MAJOR < 3:
        raise LeftOut(NO_LOGGED_MODELS)
    experiment = CLIENT.create_experiment("orders")
    run = CLIENT.create_run(experiment).info.run_id
    for name, first, second in (("low", 0.1, 0.9), ("high", 0.8, 0.2)):
        made = CLIENT.create_logged_model(experiment, name=name, source_run_id=run)
        CLIENT.log_metric(
            run, "acc", first, model_id=made.model_id, dataset_name="a", dataset_digest="1"
        )
        CLIENT.log_metric(
            run, "acc", second, model_id=made.model_id, dataset_name="b", dataset_digest="1"
        )
    for name, wanted in (("a", ["high", "low"]), ("b", ["low", "high"])):
        order = [
            {
                "field_name": "metrics.acc",
                "ascending": False,
                "dataset_name": name,
                "dataset_digest": "1",
            }
        ]
        found = [model.name for model in CLIENT.search_logged_models([experiment], order_by=order)]
        assert found == wanted, (name, found)


def check_logged_models_whose_metric_fits_on_any_named_dataset():
    if MAJOR < 3:
        raise LeftOut(NO_LOGGED_MODELS)
    experiment = CLIENT.create_experiment("any")
    run = CLIENT.create_run(experiment).info.run_id
    made = CLIENT.create_logged_model(experiment, name="x", source_run_id=run)
    CLIENT.log_metric(
        run, "acc", 0.9, model_id=made.model_id, dataset_name="a", dataset_digest="1", step=1
    )
    CLIENT.log_metric(
        run, "acc", 0.1, model_id=made.model_id, dataset_name="b", dataset_digest="1", step=2
    )
    assert len(CLIENT.search_logged_models([experiment], filter_string="metrics.acc > 0.5")) == 1
    named = [{"dataset_name": "a"}]
    assert (
        len(
            CLIENT.search_logged_models(
                [experiment], filter_string="metrics.acc > 0.5", datasets=named
            )
        )
        == 1
    )
    named = [{"dataset_name": "b"}]
    assert (
        len(
            CLIENT.search_logged_models(
                [experiment], filter_string="metrics.acc > 0.5", datasets=named
            )
        )
        == 0
    )


def main():
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            result = {"check": name, "ok": True, "error": "", "left_out": ""}
            try:
                check()
            except LeftOut as reason:
                result["left_out"] = str(reason)
            except Exception:
                result |= {"ok": False, "error": traceback.format_exc()[-1500:]}
            finally:
                while mlflow.active_run():
                    mlflow.end_run()
            print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
