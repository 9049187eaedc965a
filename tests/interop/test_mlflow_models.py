"""Models that MLflow's own client has registered are packaged, deployed, served and rolled out,
and it loads ours.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from tests import models
from tests.kernel.eventually import eventually
from tests.platform.test_up import up

AUTHOR = Path(__file__).parent / "author.py"
LOAD = """
import sys, mlflow, pandas as pd
model = mlflow.pyfunc.load_model("models:/ours/1")
answers = model.predict(pd.read_csv(sys.argv[1])[["size", "weight"]])
print(answers.tolist())
"""


class Team:
    """People who train with MLflow's client against a home, and deploy by Treadle's command."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.url, self.folder = home, url, home.parent

    def run(self, *command: str) -> str:
        environment = os.environ | {
            "MLFLOW_TRACKING_URI": self.url,
            "TREADLE_HOME": str(self.home),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [sys.executable, *command],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr[-3000:]
        return done.stdout

    def treadle(self, *arguments: str) -> str:
        return self.run("-m", "treadle", *arguments)

    def serves(self, model: str) -> str:
        """The endpoint's address, once it answers."""

        def looked() -> str | None:
            told = json.loads(self.treadle("delivery", "endpoint", "--name", model))
            return told["urls"][0] if told["ready"] else None

        return eventually(looked, what=f"{model} is served")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    with up(folder / "home") as url:
        yield Team(folder / "home", url)


@pytest.mark.parametrize("flavour", ["sklearn", "lightgbm", "pytorch", "pyfunc"])
def test_what_mlflows_client_has_registered_is_deployed_by_its_alias(
    team: Team, flavour: str
) -> None:
    team.run(str(AUTHOR), flavour, str(team.folder))
    trust = ["--trust"] if flavour == "pyfunc" else []
    told = team.treadle("deploy", f"{flavour}@champion", *trust)
    assert f"{flavour}:1 is packaged: 2 inputs" in told
    url = team.serves(flavour)
    frame = pd.read_csv(team.folder / "rows.csv").head(50)
    names = ["x0", "x1"] if flavour == "pytorch" else ["size", "weight"]
    rows = frame[["size", "weight"]].set_axis(names, axis=1).to_dict("records")
    answer = httpx.post(f"{url}/invocations", json={"dataframe_records": rows}).json()
    answers = np.array(answer["predictions"], dtype=float).reshape(-1)
    expected = np.load(team.folder / f"{flavour}.npy")[:50]
    if flavour in ("sklearn", "lightgbm"):  # MLflow's own answer is the class
        answers = (answers > 0.5).astype(float)
    np.testing.assert_allclose(answers, expected, atol=1e-4)


def test_its_next_version_is_rolled_out_step_by_step_and_monitored(team: Team) -> None:
    team.run(str(AUTHOR), "sklearn", str(team.folder))
    rollout = json.loads(team.treadle("deploy", "sklearn:2", "--json"))
    project = ["--project", "sklearn"]
    assert (rollout["number"], rollout["steps"][0]) == (2, "shadow")
    labels = pd.read_csv(team.folder / "rows.csv")
    labels["truth"] = (labels["size"] + 0.5 * labels["weight"] > 0).astype(int)
    labels.to_csv(team.folder / "labels.csv", index=False)

    def measured() -> bool:
        """A shadow answers only once it has loaded its version, so it is asked again."""
        asked = json.loads(team.treadle("ask", "sklearn", "rows.csv", "--id", "id", "--json"))
        assert len(asked) == 400
        team.treadle("label", "labels.csv", "--value", "truth", "--id", "id", *project)
        told = team.treadle("delivery", "rollout", "--id", rollout["id"])
        return "0 of 50" not in told

    eventually(measured, what="the shadow has answered what was asked")


def test_mlflows_client_loads_a_version_of_ours(team: Team) -> None:
    models.save(team.folder / "line", models.line(), models.rows()[["size", "weight"]])
    team.treadle("register", "ours", str(team.folder / "line"))
    frame = pd.read_csv(team.folder / "rows.csv") if (team.folder / "rows.csv").exists() else None
    if frame is None:
        frame = models.rows()[["size", "weight"]]
        frame.to_csv(team.folder / "rows.csv", index_label="id")
    loaded = json.loads(team.run("-c", LOAD, str(team.folder / "rows.csv")))
    url = team.serves("ours")
    rows = frame[["size", "weight"]].to_dict("records")
    answer = httpx.post(f"{url}/invocations", json={"dataframe_records": rows}).json()
    np.testing.assert_allclose(loaded, answer["predictions"], atol=1e-6)
