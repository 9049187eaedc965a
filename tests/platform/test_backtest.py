"""A real backtest: real trainings by several processes on a past whose concept changes."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.kernel.entity import replace
from treadle.kernel.errors import Invalid, NotFound
from treadle.loop.backtest.model import Backtest
from treadle.platform.backtest import backtest
from treadle.scope.policy_files import NEVER, OWN, USUAL, read_policies

FLIP = pd.Timestamp("2026-03-01")
PIPELINE = """
import pandas as pd
from sklearn.linear_model import LogisticRegression
import treadle

@treadle.step
def table(rows):
    return pd.read_csv(rows, parse_dates=["at", "told"])

@treadle.step
def holdout(table, asof):
    assert table.told.max() <= pd.Timestamp(asof).tz_localize(None), "a label of the future"
    return table.tail(400)

@treadle.step
def model(table, asof):
    train = table.tail(2400).head(2000)
    return treadle.Model(LogisticRegression().fit(train[["x", "z"]], train.y), train[["x", "z"]])
"""
DECLARATION = """
[project]
name = "clicks"
[data.rows]
source = "rows.csv"
label = "y"
time = "at"
label_time = "told"
label_delay = "2d"
[[requirement]]
id = "R1"
metric = "roc_auc"
at_least = 0.7
[rollout]
steps = ["50%", "100%"]
hold = "1d"
[monitoring]
window = "7d"
[retrain]
when = ["missed requirement"]
cooldown = "3d"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty rows a day for 120 days; from March on the label means the opposite of x."""
    folder = tmp_path_factory.mktemp("clicks")
    random = np.random.default_rng(5)
    at = pd.date_range("2026-01-01", periods=7200, freq="24min")
    x, z = random.normal(size=(2, 7200))
    sign = np.where(at < FLIP, 1.0, -1.0)
    y = (sign * x + 0.5 * random.normal(size=7200) > 0).astype(int)
    told = at + pd.Timedelta(days=2)
    order = random.permutation(7200)
    rows = pd.DataFrame({"at": at, "told": told, "x": x, "z": z, "y": y}).iloc[order]
    rows.to_csv(folder / "rows.csv", index=False)
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "treadle.toml").write_text(DECLARATION)
    (folder / "slow.toml").write_text('[retrain]\nwhen = ["older than 60d"]\n')
    return folder


@pytest.fixture(scope="module")
def compared(project: Path) -> Backtest:
    policies = read_policies(project, [project / "slow.toml"])
    started = datetime(2026, 2, 1, tzinfo=UTC)
    return backtest(project, policies, start=started, until=datetime(2026, 5, 1, tzinfo=UTC))


def test_a_loop_that_reacts_beats_one_that_does_not(compared: Backtest) -> None:
    own, never, slow = compared.replays
    assert [each.policy for each in compared.replays] == [OWN, NEVER, "slow"]
    assert never.retrains == 0 and never.gain == 0 and "R1" in never.missed
    assert own.gain is not None and own.gain > 0.2
    assert slow.gain is not None and own.gain > slow.gain
    assert OWN in compared.frontier and NEVER in compared.frontier
    assert compared.cheapest is None  # the flip itself is missed by all


def test_it_trains_when_the_labels_of_the_first_bad_window_are_due(compared: Backtest) -> None:
    own = compared.replays[0]
    first = own.trainings[1]
    assert first.trigger == "missed requirement"
    assert FLIP.tz_localize("UTC") < first.at < FLIP.tz_localize("UTC") + pd.Timedelta(days=16)
    assert own.detection_days is not None and own.detection_days <= 16
    assert own.trainings[-1].effect == "better"


def test_the_same_model_is_trained_once_for_all_policies(compared: Backtest) -> None:
    keys = [each.model for replay in compared.replays for each in replay.trainings]
    assert compared.models == len(set(keys)) < len(keys)


def test_periods_measure_what_was_served(compared: Backtest) -> None:
    own, never, _ = compared.replays
    by_month = {f"{period.start:%m}": period for period in own.periods}
    assert {*by_month} >= {"02", "03", "04"}
    april = by_month["04"]
    assert april.value is not None and april.never is not None
    assert april.value > 0.9 and april.never < 0.1
    assert april.difference.low is not None and april.difference.low > 0.8
    assert [period.value for period in never.periods] == [period.never for period in own.periods]


def test_the_command_prints_a_table_json_and_a_page(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(project)
    command = ["backtest", "slow.toml", "--from", "2026-02-01", "--until", "2026-05-01"]
    page = tmp_path / "page.html"
    run = CliRunner().invoke(app, [*command, "--html", str(page)])
    assert run.exit_code == 0, run.output
    assert "as declared" in run.output and "slow" in run.output and "roc_auc" in run.output
    written = page.read_text()
    assert written.count("<svg") == 2 and "missed requirement" in written
    run = CliRunner().invoke(app, [*command, "--json"])
    told = json.loads(run.stdout)
    assert told["metric"] == "roc_auc" and len(told["replays"]) == 3


def test_a_long_past_is_replayed_by_longer_windows(project: Path) -> None:
    hourly = read_policies(project, [project / "slow.toml"])["slow"]
    hourly = replace(hourly, monitoring=replace(hourly.monitoring, window="1h"))
    found = backtest(
        project,
        {"hourly": hourly},
        start=datetime(2026, 3, 1, tzinfo=UTC),
        until=datetime(2026, 4, 1, tzinfo=UTC),
        processes=1,
    )
    assert found.assumptions[-1] == "windows of 6h stand for those of 1h, which would be too many"


def test_what_cannot_be_replayed_says_why(project: Path, tmp_path: Path) -> None:
    policies = read_policies(project, [])
    assert {*policies} == {OWN, NEVER, *USUAL}
    with pytest.raises(NotFound, match=r"no dataset 'row'.* 'rows'"):
        backtest(project, policies, data={"row": "x"})
    with pytest.raises(Invalid, match="no row before"):
        backtest(project, policies, until=datetime(2020, 1, 1, tzinfo=UTC))
    (tmp_path / "bad.toml").write_text("[retrain]\ncooldwn = '3d'\n")
    with pytest.raises(Invalid, match=r"bad\.toml.*cooldwn"):
        read_policies(project, [tmp_path / "bad.toml"])
