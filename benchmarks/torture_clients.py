"""Clients of a home that is tortured: each notes what was acknowledged to it.

``python torture_clients.py FOLDER URL NUMBER`` is the recorder: a training script that is killed
again and again. It prints the step that it has logged last.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import httpx
from torture_world import PROJECT, World

from treadle.data.model import Label
from treadle.kernel.errors import TreadleError, Unavailable
from treadle.platform.remote import Remote, connect
from treadle.ports.tree import put_files
from treadle.tracking.model import Metric

MLFLOW = "/api/2.0/mlflow"


class Client(threading.Thread):
    """Does one thing again and again until it is told to stop.

    What is refused or not answered counts as not acknowledged.

    Args:
        name: What it does.
        turn: Does it once: takes the number of the turn, returns what was acknowledged.
        pause: Seconds between two turns.

    Attributes:
        acknowledged: What was acknowledged, in order.
        refused: Number of turns that came to nothing.
        unexpected: Errors that nobody may see, whatever happens to the machine.
    """

    def __init__(self, name: str, turn: Callable[[int], list[Any]], *, pause: float) -> None:
        super().__init__(name=name, daemon=True)
        self._turn, self._pause = turn, pause
        self.acknowledged: list[Any] = []
        self.refused = 0
        self.unexpected: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Do it until it is over."""
        number = 0
        while not self.over.wait(self._pause):
            number += 1
            try:
                self.acknowledged += self._turn(number)
            except (TreadleError, httpx.TransportError) as error:
                self.refused += 1
                if getattr(error, "status", 503) == 500:
                    self.unexpected.append(str(error))
            except Exception as error:
                self.unexpected.append(repr(error))


class Clients:
    """All clients of one world.

    Args:
        world: The home that answers.
    """

    def __init__(self, world: World) -> None:
        self._world, self._services = world, threading.local()
        self.native_run = connect(world.url).tracking.start_run(project=PROJECT).id
        self.mlflow_run = connect(world.url).tracking.start_run(project=PROJECT).id
        self.recorded: dict[str, int] = {}  # the last step logged, by run
        self._waiting = list[dict[str, Any]]()
        kinds: list[tuple[str, Callable[[int], list[Any]], float]] = [
            ("native points", self._native, 0.02),
            ("mlflow points", self._mlflow, 0.02),
            ("runs", self._runs, 0.1),
            ("searches", self._searches, 0.2),
            ("labels", self._labels, 0.05),
            ("predictions", self._predictions, 0.02),
            ("datasets", self._datasets, 0.3),
            ("trainings", self._trainings, 8.0),
            ("approvals", self._approvals, 0.5),
        ]
        self.all = {name: Client(name, turn, pause=pause) for name, turn, pause in kinds}

    def start(self) -> None:
        """Let all of them begin."""
        for client in self.all.values():
            client.start()

    def stop(self) -> None:
        """Let all of them end what they are at."""
        for client in self.all.values():
            client.over.set()
        for client in self.all.values():
            client.join(90)

    @property
    def _remote(self) -> Remote:
        """The services, of each thread its own."""
        if not hasattr(self._services, "remote"):
            self._services.remote = connect(self._world.url)
        remote: Remote = self._services.remote
        return remote

    def _native(self, number: int) -> list[Any]:
        metrics = [Metric(key="x", value=float(number), step=number)]
        self._remote.tracking.log(run=self.native_run, metrics=metrics)
        return [number]

    def _mlflow(self, number: int) -> list[Any]:
        """Send a batch until it is acknowledged, as MLflow's clients do."""
        metrics = [
            {"key": "m", "value": step / 2, "timestamp": step, "step": step}
            for step in range(10 * number, 10 * number + 10)
        ]
        self._waiting += [] if self._waiting else metrics
        body = {"run_id": self.mlflow_run, "metrics": self._waiting}
        self._post(f"{MLFLOW}/runs/log-batch", body)
        done, self._waiting = self._waiting, []
        return [point["step"] for point in done]

    def _runs(self, number: int) -> list[Any]:
        name = f"run-{number}"
        made = self._post(f"{MLFLOW}/runs/create", {"experiment_id": "0", "run_name": name})
        run = made["run"]["info"]["run_id"]
        self._post(f"{MLFLOW}/runs/log-parameter", {"run_id": run, "key": "n", "value": name})
        self._post(f"{MLFLOW}/runs/set-tag", {"run_id": run, "key": "t", "value": name})
        digest = self._remote.blobs.put(name.encode() * 40)
        size = len(name) * 40
        self._remote.tracking.add_artifact(run=run, path="a.txt", digest=digest, bytes=size)
        self._remote.tracking.finish_run(run=run)
        return [(run, name, digest)]

    def _searches(self, _: int) -> list[Any]:
        """Find the newest run that was acknowledged: a search that is answered finds it."""
        if runs := self.all["runs"].acknowledged[-1:]:
            run, name, _ = runs[0]
            wanted = {"experiment_ids": ["0"], "filter": f"params.n = '{name}'"}
            found = self._post(f"{MLFLOW}/runs/search", wanted).get("runs", [])
            if run not in [one["info"]["run_id"] for one in found]:
                raise LookupError(f"'{name}' was acknowledged and is not found")
        return []

    def _labels(self, number: int) -> list[Any]:
        labels = [Label(request=f"label-{number}-{n}", value=float(number)) for n in range(3)]
        self._remote.data.add_labels(project=PROJECT, labels=labels)
        return [(label.request, label.value) for label in labels]

    def _predictions(self, number: int) -> list[Any]:
        address = getattr(self._services, "address", "")
        if not address or number % 50 == 0:
            addresses = self._remote.delivery.endpoint(name=PROJECT).urls
            if not addresses:
                raise Unavailable("No replica is ready.")
            address = addresses[0]
            self._services.address = address
        answer = httpx.post(
            f"{address}/invocations",
            json={"dataframe_records": [{"distance": number % 3 / 2, "wind": 0.5}]},
            headers={"X-Request-Id": f"ask-{number}"},
            timeout=30,
        )
        if answer.status_code != 200:
            _refused(answer)
        return [f"ask-{number}"]

    def _datasets(self, number: int) -> list[Any]:
        file = self._world.root / "data.csv"
        file.write_text(f"n\n{number}\n")
        digest = put_files(self._remote.blobs, {"data.csv": file})
        self._remote.data.add(project=PROJECT, name="extra", digest=digest)
        return [digest]

    def _trainings(self, number: int) -> list[Any]:
        return [self._remote.training.start(project=PROJECT, parameters={"turn": number}).run]

    def _approvals(self, number: int) -> list[Any]:
        name = f"model-{number}"
        registry = self._remote.registry
        registry.create_model(name=name, project=PROJECT)
        made = registry.register_source(model=name, source=f"s3://models/{number}")
        registry.set_alias(model=name, alias="best", number=made.number)
        registry.approve(model=name, number=made.number, comment=name)
        return [(name, made.number)]

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.post(f"{self._world.url}{path}", json=body, timeout=30)
        if answer.status_code != 200:
            return _refused(answer)
        return answer.json()


def _refused(answer: httpx.Response) -> NoReturn:
    """Raise what an answer that is no 200 says."""
    refusal = TreadleError(answer.text[:300])
    refusal.status = answer.status_code
    raise refusal


class Recorder(threading.Thread):
    """Runs the script that records, again and again; what it has printed is acknowledged.

    Args:
        clients: Whose `recorded` is kept.
        world: The home that the runs go to.
        begun: Takes the id of each script's process.
    """

    def __init__(self, clients: Clients, world: World, begun: Callable[[int], None]) -> None:
        super().__init__(name="recorder", daemon=True)
        self._clients, self._world, self._begun = clients, world, begun
        self.over = threading.Event()

    def run(self) -> None:
        """Start a script whenever the last has ended."""
        folder = self._world.root / "clients"
        folder.mkdir()
        number = 0
        while not self.over.is_set():
            number += 1
            arguments = [str(folder), self._world.url, str(number)]
            script = subprocess.Popen(
                [sys.executable, __file__, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            self._begun(script.pid)
            assert script.stdout is not None
            for line in script.stdout:
                if line.endswith("\n"):  # else it was killed while it wrote
                    run, _, step = line.strip().partition(" ")
                    self._clients.recorded[run] = int(step)
                if self.over.is_set():
                    script.terminate()
            script.wait()


def record(folder: str, url: str, number: str) -> None:
    """Log a point after the other; say so after each."""
    import treadle

    with suppress(KeyboardInterrupt):
        run = treadle.run(
            "tortured", home=Path(folder) / "home", url=url, id=f"rec{number}-{os.getpid()}",
            system_metrics=False, code=False,
        )  # fmt: skip
        for step in range(1, 4_000):
            run.log(step=step, loss=1 / step)
            print(run.id, step, flush=True)
            time.sleep(0.005)
        run.finish()


if __name__ == "__main__":
    record(*sys.argv[1:])
