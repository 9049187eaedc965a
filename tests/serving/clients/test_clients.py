"""Real clients and clouds' start-up contracts, against ``treadle serve`` and its image."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import httpx
import numpy as np
import pandas as pd
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from sklearn.linear_model import LinearRegression

from tests import models
from treadle.kernel.clock import EPOCH
from treadle.serving.log_batch import LogRow
from treadle.serving.log_files import InferenceLogs

ROOT = Path(__file__).parents[3]
ROWS = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
ANSWERS = [321.0, 654.0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two model folders: one that weighs three numbers, one of text and numbers."""
    root = tmp_path_factory.mktemp("models")
    inputs = pd.DataFrame(np.random.default_rng(0).normal(size=(50, 3)), columns=["a", "b", "c"])
    weighed = LinearRegression().fit(inputs, inputs.to_numpy() @ [1, 10, 100])
    return models.save(root / "numeric", weighed, inputs), models.save(
        root / "mixed", models.trees()
    )


@contextmanager
def running(process: "subprocess.Popen[bytes]", port: int) -> Iterator[str]:
    """A started server's URL once it is ready; in the end it is told to stop, and must end well."""
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


@contextmanager
def serving(
    *arguments: str | Path, state: Path, workers: int = 1, environment: dict[str, str] | None = None
) -> Iterator[str]:
    """``treadle serve`` with these arguments; gives its URL once it is ready."""
    port = free_port()
    asked = ["--port", str(port)] if not environment else []
    told = {name: value.format(port=port) for name, value in (environment or {}).items()}
    command = [
        sys.executable,
        "-m",
        "treadle",
        "serve",
        *map(str, arguments),
        "--state",
        str(state),
        *asked,
    ]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)], env=os.environ | told, stdout=subprocess.DEVNULL
    )
    with running(process, port) as url:
        yield url


Start = Callable[..., AbstractContextManager[str]]
# A container's limits may not exceed those of who starts it, as the engine's own sometimes do.
LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]


@pytest.fixture(scope="module")
def podman(folders: tuple[Path, Path]) -> Iterator[list[str]]:
    """podman with the image of the numeric model in a store of its own."""
    if shutil.which("podman") is None or shutil.which("runc") is None or os.getuid() != 0:
        pytest.skip("podman, runc and root are wanted to run the image")
    root = Path(
        mkdtemp(prefix="podman-")
    )  # pytest's own folders are longer than the 50 characters it allows
    places = [f"--{name}={root / name}" for name in ("root", "runroot", "tmpdir")]
    command = [
        "podman",
        *places,
        "--storage-driver=vfs",
        "--cgroup-manager=cgroupfs",
        "--runtime=runc",
    ]
    archive = root / "numeric.tar"
    built = [
        sys.executable,
        "-m",
        "treadle",
        "build",
        f"numeric:1={folders[0]}",
        "--to",
        str(archive),
    ]
    subprocess.run(built, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "load", "--input", str(archive)], check=True, capture_output=True)
    yield command
    subprocess.run([*command, "rm", "--all", "--force"], check=True, capture_output=True)
    shutil.rmtree(root, ignore_errors=True)


@contextmanager
def contained(
    podman: list[str],
    *arguments: str | Path,
    state: Path,
    environment: dict[str, str] | None = None,
) -> Iterator[str]:
    """The same server in a container with a read-only root and no capabilities."""
    port = free_port()
    told = {
        name: value.format(port=port) for name, value in (environment or {"PORT": "{port}"}).items()
    }
    state.mkdir(parents=True, exist_ok=True)
    os.chown(state, 65532, 65532)
    mounts = [f"--volume={path}:{path}:ro" for path in arguments if isinstance(path, Path)]
    safe = [
        "--network=host",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
        *LIMITS,
    ]
    run = [*podman, "run", "--rm", *safe, *mounts, f"--volume={state}:/var/lib/treadle"]
    run += [f"--env={name}={value}" for name, value in told.items()]
    given = ["serve", *map(str, arguments)] if arguments else []  # the image's own model
    process = subprocess.Popen([*run, "numeric:1", *given], stdout=subprocess.DEVNULL)
    with running(process, port) as url:
        yield url


@pytest.fixture(params=["process", "image"])
def start(request: pytest.FixtureRequest) -> Start:
    """``serving``, or the same in a container."""
    return (
        serving
        if request.param == "process"
        else partial(contained, request.getfixturevalue("podman"))
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended"
        try:
            if httpx.get(f"{url}/ping").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError("the server was not ready within 60 s")


def test_tritons_and_kserves_clients_are_served(
    start: Start, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    python = ROOT / ".clients" / "serving" / "bin" / "python"
    with start(*folders, state=tmp_path / "state") as url:
        walk = [str(python), str(Path(__file__).with_name("walk.py")), url, "numeric", "mixed"]
        done = subprocess.run(walk, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "ok"


@pytest.mark.parametrize("client", ["triton", "kserve"])
def test_tritons_and_kserves_clients_are_served_by_grpc(
    folders: tuple[Path, Path], tmp_path: Path, client: str
) -> None:
    python = ROOT / ".clients" / "serving" / "bin" / "python"
    walk = Path(__file__).with_name("grpc_walk.py")
    with serving(*folders, state=tmp_path / "state", workers=2) as url:
        asked = [str(python), str(walk), url.removeprefix("http://"), "numeric", "mixed", client]
        done = subprocess.run(asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "ok"


def test_mlflows_scoring_client_is_served(
    start: Start, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    python = ROOT / ".clients" / "mlflow3" / "bin" / "python"
    code = (
        "import sys, pandas as pd\n"
        "from mlflow.pyfunc.scoring_server.client import ScoringServerClient\n"
        "client = ScoringServerClient('127.0.0.1', int(sys.argv[1]))\n"
        "client.wait_server_ready(timeout=20)\n"
        "frame = pd.DataFrame([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], columns=['a', 'b', 'c'])\n"
        "print([round(value, 3) for value in client.invoke(frame).get_predictions()[0]])\n"
    )
    with start(folders[0], state=tmp_path / "state") as url:
        done = subprocess.run(
            [str(python), "-c", code, url.rpartition(":")[2]], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == ANSWERS


@pytest.mark.parametrize(
    ("environment", "score", "health"),
    [
        ({"AIP_HTTP_PORT": "{port}", "AIP_PREDICT_ROUTE": "/v/predict",
          "AIP_HEALTH_ROUTE": "/v/ok", "PORT": "1"}, "/v/predict", "/v/ok"),
        ({"SAGEMAKER_BIND_TO_PORT": "{port}"}, "/invocations", "/ping"),
        ({"PORT": "{port}"}, "/v1/models/numeric:predict", "/v1/models/numeric"),
        ({"PORT": "{port}", "AZUREML_MODEL_DIR": "/somewhere"}, "/score", "/"),
    ],
    ids=["vertex", "sagemaker", "cloud run", "azure"],
)  # fmt: skip
def test_a_clouds_contract_is_kept(
    start: Start,
    folders: tuple[Path, Path],
    tmp_path: Path,
    environment: dict[str, str],
    score: str,
    health: str,
) -> None:
    with start(folders[0], state=tmp_path / "state", environment=environment) as url:
        assert httpx.get(url + health).status_code == 200
        told = httpx.post(
            url + score,
            json={"instances": ROWS, "parameters": {}} if "v" in score else {"inputs": ROWS},
        )
        assert told.json()["predictions"] == pytest.approx(ANSWERS, rel=1e-5)


TRITON = """
import sys
import tritonclient.http as triton
client = triton.InferenceServerClient(sys.argv[1].removeprefix("http://"))
states = lambda: {one["name"]: one["state"] for one in client.get_model_repository_index()}
assert states() == {"mixed": "READY", "numeric": "READY"}, states()
client.unload_model("mixed")
assert states() == {"mixed": "UNAVAILABLE", "numeric": "READY"}, states()
try:
    client.is_model_ready("mixed")
except triton.InferenceServerException:
    pass
client.load_model("mixed")
assert client.is_model_ready("mixed") and states()["mixed"] == "READY"
try:
    client.load_model("nothing")
    raise SystemExit("a model that is not there was loaded")
except triton.InferenceServerException as error:
    assert "There is no model 'nothing' in the repository" in str(error), error
print("ok")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_tritons_client_loads_and_unloads_models(
    folders: tuple[Path, Path], tmp_path: Path, workers: int
) -> None:
    python = ROOT / ".clients" / "serving" / "bin" / "python"
    with serving("--repository", folders[0].parent, state=tmp_path, workers=workers) as url:
        for _ in range(workers):
            done = subprocess.run([str(python), "-c", TRITON, url], capture_output=True, text=True)
            assert (done.returncode, done.stdout.strip()) == (0, "ok"), done.stderr[-2000:]


def test_workers_share_a_port_and_one_that_is_killed_costs_what_it_had_in_hand(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with serving(folders[0], state=tmp_path, workers=2) as url:
        wait_for(
            lambda: all((tmp_path / "numeric" / f"replica-{n}.json").exists() for n in range(2))
        )
        pids = [
            json.loads((tmp_path / "numeric" / f"replica-{n}.json").read_text())["pid"]
            for n in range(2)
        ]
        answered, failed = [], 0
        for number in range(300):
            if number == 100:
                os.kill(pids[0], signal.SIGKILL)
            try:  # a connection for each, so that both are asked
                answer = httpx.post(
                    f"{url}/invocations",
                    json={"inputs": ROWS},
                    headers={"x-request-id": f"r{number}"},
                )
                assert answer.status_code == 200
                answered.append(f"r{number}")
            except httpx.TransportError:
                failed += 1
        assert failed <= 1
        wait_for(
            lambda: (
                json.loads((tmp_path / "numeric" / "replica-0.json").read_text())["pid"] != pids[0]
            )
        )
    logged = {row.id for row in logs(tmp_path)}
    assert set(answered) <= logged


def test_the_image_serves_its_own_model_and_says_what_is_in_it(
    podman: list[str], tmp_path: Path
) -> None:
    with contained(podman, state=tmp_path / "state") as url:
        answer = httpx.post(f"{url}/invocations", json={"inputs": ROWS})
        assert answer.json()["predictions"] == pytest.approx(ANSWERS, rel=1e-5)
        assert answer.headers["x-treadle-version"] == "numeric:1"
    read = "import sys; sys.stdout.write(open('/opt/treadle/sbom.cdx.json').read())"
    look = [
        *podman,
        "run",
        "--rm",
        "--network=none",
        *LIMITS,
        "--entrypoint",
        "python3",
        "numeric:1",
        "-c",
        read,
    ]
    bill = json.loads(subprocess.run(look, check=True, capture_output=True, text=True).stdout)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    assert {"onnxruntime", "numpy", "treadle", "CPython", "/opt/ml/model/model.onnx"} <= {
        c["name"] for c in bill["components"]
    }
    inspected = subprocess.run(
        [*podman, "inspect", "numeric:1"], check=True, capture_output=True, text=True
    )
    assert json.loads(inspected.stdout)[0]["Config"]["User"] == "65532:65532"


def test_an_onnx_file_is_served_as_it_is(folders: tuple[Path, Path], tmp_path: Path) -> None:
    file = tmp_path / "bare.onnx"
    file.write_bytes((folders[0] / "model.onnx").read_bytes())
    with serving(file, state=tmp_path / "state") as url:
        answer = httpx.post(f"{url}/invocations", json={"inputs": ROWS})
        assert answer.json()["predictions"] == pytest.approx(ANSWERS, rel=1e-5)
        assert httpx.get(f"{url}/v2/models/bare").json()["inputs"][0]["shape"] == [-1, 3]


def test_callers_are_checked_and_held_to_their_rate(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    from hashlib import sha256

    file = tmp_path / "callers.toml"
    file.write_text(
        f'[[caller]]\nname = "web"\nsha256 = "{sha256(b"secret").hexdigest()}"\n'
        "per_second = 0.01\nburst = 2\n"
    )
    with serving(folders[0], "--callers", file, state=tmp_path / "state") as url:
        assert httpx.post(f"{url}/invocations", json={"inputs": ROWS}).status_code == 401
        token = {"authorization": "Bearer secret"}
        codes = [
            httpx.post(f"{url}/invocations", json={"inputs": ROWS}, headers=token) for _ in range(3)
        ]
        assert [answer.status_code for answer in codes] == [200, 200, 429]
        assert 90 <= int(codes[2].headers["retry-after"]) <= 101
        assert httpx.get(f"{url}/ping").status_code == 200


def test_broken_requests_are_answered_as_such_and_leave_the_server_well(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Ten seconds of it; ``benchmarks/fuzz_server.py`` takes any number."""
    with serving(folders[0], state=tmp_path) as url:
        pid = json.loads((tmp_path / "numeric" / "replica-0.json").read_text())["pid"]
        fuzz = [
            sys.executable,
            str(ROOT / "benchmarks" / "fuzz_server.py"),
            url,
            str(pid),
            "numeric",
            "10",
        ]
        done = subprocess.run(fuzz, capture_output=True, text=True, timeout=100)
    told = json.loads(done.stdout)
    assert done.returncode == 0, told
    assert told["answered"]["200"] > 50
    assert told["answered"]["400"] > 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.onnx"], "There is no 'nowhere.onnx'"),
        (["./nothing"], "There is no 'nothing'"),
        (["."], "is no model folder"),
        ([".", "--host", "0.0.0.0"], "would let anybody ask"),
        ([".", "--callers", "no.toml"], "no model folder"),
    ],
)
def test_what_cannot_be_served_is_told(tmp_path: Path, arguments: list[str], message: str) -> None:
    command = [
        sys.executable,
        "-m",
        "treadle",
        "serve",
        *arguments,
        "--port",
        "0",
        "--state",
        str(tmp_path / "s"),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def logs(state: Path) -> Iterator[LogRow]:
    return InferenceLogs(state).read("numeric", EPOCH, EPOCH.replace(year=9000))


def wait_for(condition: object) -> None:
    until = time.monotonic() + 90
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.02)
