"""``treadle.run`` in real processes: killed at any moment, forked, without a server.

What was logged arrives, once.
"""

import json
import multiprocessing
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import treadle
from tests.platform.test_up import up
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Conflict, Invalid, NotFound, Unavailable
from treadle.platform.recording import sync
from treadle.platform.start import embedded
from treadle.ports.tree import read_tree
from treadle.recording.recorder import Recording
from treadle.recording.uploader import Uploader, spooled
from treadle.tracking.environment import CHANGES, CODE, ENVIRONMENT, Environment

NOBODY = "http://127.0.0.1:9"
TRAIN = """
import sys, treadle
to = {"home": sys.argv[1], "url": sys.argv[2]}
with treadle.run("killed", params={"lr": 0.1}, **to, system_metrics=False, code=False) as run:
    print(run.id, flush=True)
    for step in range(int(sys.argv[3])):
        run.log(step=step, loss=step / 7)
        if step % 50 == 0:
            print(step, flush=True)
"""


def quietly(home: Path, **more: Any) -> Recording:
    return treadle.run("exp", home=home, system_metrics=False, code=False, **more)


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", TRAIN, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_everything_that_can_be_logged_is_there_afterwards(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("a,b\n1,2\n")
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "one.txt").write_text("one")
    home = tmp_path / "home"
    with treadle.run(
        "exp",
        name="first",
        params={"optimizer": {"lr": 0.1}},
        tags={"team": "a"},
        notes="why",
        seed=3,
        home=home,
    ) as run:
        drawn = np.random.rand()
        run.log(loss=1.0)
        run.log({"val/loss": float("nan")}, step=2.5)
        run.log(loss=np.float32(0.5), acc=1)
        run.log_series("curve", [3, 2, 1], steps=[0.5, 1, 1.5])
        run.log_series("curve2", np.arange(5))
        run.log_series("curve2", np.arange(5))
        run.log_artifact(tmp_path / "plots", "pictures")
        run.log_artifact(tmp_path / "data.csv")
        run.log_text("hello", "notes/hello.txt")
        run.log_json({"a": [1]}, "a.json")
        run.log_table([{"x": 1, "y": "a"}, {"x": 2}], "table.json")
        run.log_table({"x": [1, 2]}, "table.parquet")
        run.log_image(np.linspace(0, 1, 12).reshape(3, 4), "image.png")
        run.log_audio(np.sin(np.arange(100)), "sound.wav", rate=8000)
        run.note("because")
        digest = run.use_data(tmp_path / "data.csv", name="customers")
        inner = run.child("trial", params={"depth": 3})
        inner.log(loss=2.0)
        inner.finish("failed")
    assert not list((home / "spool").iterdir())
    np.random.seed(3)
    assert drawn == np.random.rand()
    with embedded(home) as platform:
        tracking = platform.tracking
        found = tracking.get(run=run.id)
        assert (found.name, found.status, found.params) == (
            "first",
            "finished",
            {"optimizer.lr": "0.1", "seed": "3"},
        )
        assert found.tags["team"] == "a" and found.tags["mlflow.note.content"] == "because"
        assert [
            (point.step, point.value) for point in tracking.history(run=run.id, key="loss")
        ] == [(0, 1.0), (1, 0.5)]
        assert [
            (point.step, point.value) for point in tracking.history(run=run.id, key="curve")
        ] == [
            (0.5, 3),
            (1, 2),
            (1.5, 1),
        ]
        assert [point.step for point in tracking.history(run=run.id, key="curve2")] == list(
            range(10)
        )
        assert found.metrics["val/loss"] != found.metrics["val/loss"]
        assert "system/cpu_utilization_percentage" in found.metrics
        paths = {artifact.path: artifact.digest for artifact in tracking.artifacts(run=run.id)}
        names = {
            "pictures/one.txt",
            "data.csv",
            "notes/hello.txt",
            "a.json",
            "table.json",
            "table.parquet",
            "image.png",
            "sound.wav",
        }
        assert set(paths) - {CODE, ENVIRONMENT, CHANGES} == names
        assert (
            platform.blobs.get(paths["table.json"])
            == b'{"columns":["x","y"],"data":[[1,"a"],[2,null]]}'
        )
        assert platform.blobs.get(paths["image.png"]).startswith(b"\x89PNG")
        (data,) = tracking.datasets(run=run.id)
        assert (data.name, data.digest, data.tags) == ("customers", digest, {"treadle.kept": "yes"})
        assert list(read_tree(platform.blobs, digest).files) == ["data.csv"]
        trial = tracking.get(run=inner.id)
        assert (trial.name, trial.status, trial.tags["mlflow.parentRunId"]) == (
            "trial",
            "failed",
            run.id,
        )


def test_what_is_wrong_is_told_at_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    with quietly(tmp_path / "home", params={"lr": 1}) as run:
        with pytest.raises(
            Invalid, match="Metric 'loss' was not logged: 'much' at step 0 is no point"
        ):
            run.log(loss="much", acc=0.5)  # type: ignore[arg-type]
        with pytest.raises(Conflict, match=r"Parameter 'lr' .* is '1' already"):
            run.log_params({"lr": 2})
        with pytest.raises(Invalid, match=r"no path of an artifact"):
            run.log_text("x", "../x")
        with pytest.raises(NotFound, match="no file or folder"):
            run.log_artifact("nowhere")
        with pytest.raises(Invalid, match="as many steps"):
            run.log_series("a", [1, 2], steps=[1])
        run.log(loss=1.0)
    with pytest.raises(Conflict, match="has ended"):
        run.log(loss=2.0)
    with embedded(tmp_path / "home") as platform:
        assert platform.tracking.get(run=run.id).metrics == {"loss": 1.0}


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("too hot"), "failed"), (KeyboardInterrupt(), "killed")]
)
def test_a_run_ends_as_its_block_ends(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), quietly(tmp_path / "home") as run:
        raise error
    with embedded(tmp_path / "home") as platform:
        assert platform.tracking.get(run=run.id).status == status
        (told,) = platform.tracking.artifacts(run=run.id)
        assert (
            told.path == "treadle/error.txt"
            and type(error).__name__ in platform.blobs.get(told.digest).decode()
        )


def test_a_program_that_ends_without_a_word_ends_its_run(tmp_path: Path) -> None:
    script = (
        "import sys, treadle\nrun = treadle.run('e', home=sys.argv[1], code=False)\n"
        "print(run.id)\nrun.log(a=1)\n"
    )
    for end, status in (("", "finished"), ("raise ValueError", "failed")):
        done = subprocess.run(
            [sys.executable, "-c", script + end, str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        with embedded(tmp_path) as platform:
            found = platform.tracking.get(run=done.stdout.strip())
        assert (found.status, found.metrics["a"]) == (status, 1.0)


@pytest.mark.parametrize("moment", range(4))
def test_kill_9_loses_nothing_that_was_logged(tmp_path: Path, moment: int) -> None:
    dice = random.Random(moment)
    process = started(tmp_path, "", 100_000_000)
    assert process.stdout is not None
    run = process.stdout.readline().strip()
    told, until = 0, time.monotonic() + dice.uniform(0.1, 2.5)
    while time.monotonic() < until:
        told = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    told = max([told, *map(int, process.stdout.read().split())])
    process.wait()
    with embedded(tmp_path) as platform:
        (state,) = sync(tmp_path, platform)
        assert state.finished and not state.refused and spooled(tmp_path / "spool") == []
        assert platform.tracking.get(run=run).status == "killed"
        points = platform.tracking.points(run=run, key="loss")
        assert points.whole.tolist() == list(range(len(points))) and len(points) > told
        assert np.array_equal(points.value, points.whole / 7)


def test_an_absent_server_stops_nobody_and_sync_sends_what_is_left(tmp_path: Path) -> None:
    process = started(tmp_path / "home", NOBODY, 1_000)
    out, told = process.communicate(timeout=60)
    run = out.split()[0]
    assert process.returncode == 0 and told.count(f"run {run} is not delivered completely") == 1, (
        told
    )
    assert "treadle sync" in told
    with up(tmp_path / "server") as url:
        command = [
            sys.executable,
            "-m",
            "treadle.cli.main",
            "sync",
            "--home",
            str(tmp_path / "home"),
        ]
        done = subprocess.run([*command, "--url", url], capture_output=True, text=True, timeout=60)
        assert done.stdout == f"{run} delivered: 1,000 points sent now.\n", done.stderr
        again = subprocess.run(
            [*command, "--url", url, "--json"], capture_output=True, text=True, timeout=60
        )
        assert json.loads(again.stdout) == []
        with treadle.connect(url) as server:
            found = server.tracking.get(run=run)
            assert (found.status, found.params) == ("finished", {"lr": "0.1"})
            assert [s.points for s in server.tracking.series(run=run)] == [1_000]


def test_a_server_that_goes_and_comes_back_has_everything_once(tmp_path: Path) -> None:
    run = None
    with up(tmp_path / "server") as url:
        run = quietly(tmp_path / "home", url=url)
        for step in range(1_000):
            run.log(step=step, loss=step)
        time.sleep(1)
    for step in range(1_000, 2_000):
        run.log(step=step, loss=step)
    time.sleep(1)
    with up(tmp_path / "server", port=int(url.rpartition(":")[2])) as url:
        run.log(step=2_000, loss=2_000)
        run.finish()
        with treadle.connect(url) as server:
            assert [
                point.step for point in server.tracking.history(run=run.id, key="loss")
            ] == list(range(2_001))
            assert server.tracking.get(run=run.id).status == "finished"


class Unsure:
    """A store whose calls fail at random, before they are done or after."""

    def __init__(self, store: Any, dice: random.Random) -> None:
        self._store, self._dice = store, dice

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return Unsure(found, self._dice) if name in ("tracking", "blobs") else found

        def call(*given: Any, **named: Any) -> Any:
            if self._dice.random() < 0.15:
                raise Unavailable("not there")
            answer = found(*given, **named)
            if self._dice.random() < 0.15:
                raise Unavailable("no answer")
            return answer

        return call


@pytest.mark.parametrize("seed", range(5))
def test_a_store_that_fails_at_random_has_everything_once(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with embedded(tmp_path / "there") as platform:
        run = quietly(tmp_path / "home", url=NOBODY)
        for step in range(3_000):
            run.log(step=step, loss=step)
        run.log_series("big", np.arange(100_000))
        run.log_text("x", "x.txt")
        run.finish()
        root = tmp_path / "home" / "spool"
        for _ in range(300):
            (name,) = spooled(root)
            uploader = Uploader(root, name)
            try:
                while uploader.send_next(Unsure(platform, dice)):
                    pass
                break
            except Unavailable:
                continue
            finally:
                uploader.close()
        assert spooled(root) == []
        assert {one.key: one.points for one in platform.tracking.series(run=run.id)} == {
            "big": 100_000,
            "loss": 3_000,
        }
        assert platform.tracking.get(run=run.id).status == "finished"
        assert [file.path for file in platform.tracking.artifacts(run=run.id)] == ["x.txt"]


def test_what_the_server_refuses_is_told_and_kept_and_the_rest_arrives(tmp_path: Path) -> None:
    with embedded(tmp_path / "there") as platform:
        run = quietly(tmp_path / "home", url=NOBODY, params={"lr": 1})
        platform.tracking.start_run(id=run.id, experiment="exp", params={"lr": "2"})
        run.log(loss=1.0)
        run.finish()
        (state,) = sync(tmp_path / "home", platform)
        assert state.finished and state.refused == [
            f"Parameters: Parameter 'lr' of run '{run.id}' is '2' already; a parameter is set once."
        ]
        assert platform.tracking.get(run=run.id).metrics == {"loss": 1.0}
        (left,) = spooled(tmp_path / "home" / "spool")
        assert left.startswith(f"{run.id}.")


def _log_from(run: Recording, number: int) -> None:
    for step in range(500):
        run.log({f"worker{number}": step, "shared": number}, step=step)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_log_to_the_run(tmp_path: Path, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with quietly(tmp_path) as run:
        run.log(before=1.0)
        workers = [context.Process(target=_log_from, args=(run, number)) for number in range(3)]
        for worker in workers:
            worker.start()
        for step in range(500):
            run.log(step=step, own=step)
        for worker in workers:
            worker.join(60)
            assert worker.exitcode == 0
    with embedded(tmp_path) as platform:
        counts = {one.key: one.points for one in platform.tracking.series(run=run.id)}
        assert counts == {
            "before": 1,
            "own": 500,
            "shared": 1_500,
            "worker0": 500,
            "worker1": 500,
            "worker2": 500,
        }
        steps = [point.step for point in platform.tracking.history(run=run.id, key="worker1")]
        assert steps == list(range(500))
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_run_that_is_taken_up_again_keeps_all_points(tmp_path: Path) -> None:
    with quietly(tmp_path) as run:
        run.log(step=0, loss=0)
    with quietly(tmp_path, id=run.id) as again, quietly(tmp_path, id=run.id) as beside:
        again.log(step=1, loss=1)
        beside.log(step=2, loss=2)
    with embedded(tmp_path) as platform:
        assert sorted(
            point.step for point in platform.tracking.history(run=run.id, key="loss")
        ) == [0, 1, 2]
    with pytest.raises(Invalid, match="is no id of a run"):
        quietly(tmp_path, id="../x")


def test_ten_processes_log_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    processes = [started(tmp_path, "", 20_000) for _ in range(10)]
    runs = []
    for process in processes:
        out, told = process.communicate(timeout=120)
        assert process.returncode == 0 and told == "", told
        runs.append(out.split()[0])
    with embedded(tmp_path) as platform:
        for run in runs:
            points = platform.tracking.points(run=run, key="loss")
            assert points.whole.tolist() == list(range(20_000))
            assert platform.tracking.get(run=run).status == "finished"
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_run_keeps_what_repeating_it_needs(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    (project / "lib.py").write_text("RATE = 1\n")
    (project / "train.py").write_text(
        "import sys, treadle, lib\n"
        "with treadle.run('e', home=sys.argv[1]) as run:\n    print(run.id)\n"
    )
    (project / ".gitignore").write_text("secret.py\n")
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    (project / "lib.py").write_text("RATE = 2\n")
    (project / "new.py").write_text("")
    (project / "secret.py").write_text("")
    done = subprocess.run(
        [sys.executable, "train.py", str(home)],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    with embedded(home) as platform:
        run = done.stdout.strip()
        kept = {file.path: file.digest for file in platform.tracking.artifacts(run=run)}
        found = from_json(platform.blobs.get(kept[ENVIRONMENT]), Environment)
        assert (
            found.command == ["train.py", str(home)] and found.changed and len(found.commit) == 40
        )
        assert found.packages["numpy"] == np.__version__ and "treadle" in found.packages
        assert list(read_tree(platform.blobs, kept[CODE]).files) == ["lib.py", "new.py", "train.py"]
        assert "-RATE = 1\n+RATE = 2\n" in platform.blobs.get(kept[CHANGES]).decode()
        assert platform.tracking.get(run=run).tags["mlflow.source.git.commit"] == found.commit
