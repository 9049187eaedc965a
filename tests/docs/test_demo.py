"""The demo serves a real year, the loop gains, both accidents are caught, and it says why."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.outgoing import Outgoing
from tests.platform.test_platforms import served
from treadle.cli import demo
from treadle.platform.start import embedded

pytestmark = pytest.mark.timeout(2400)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "home"


@pytest.fixture(scope="module")
def outgoing(home: Path) -> Outgoing:
    """What all processes of the demo try to reach."""
    return Outgoing(home.parent / "outgoing")


@pytest.fixture(scope="module")
def result(home: Path, outgoing: Outgoing) -> dict[str, Any]:
    command = [sys.executable, "-m", "treadle", "demo", "--home", str(home), "--json"]
    environment = os.environ | outgoing.environment
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_the_year_is_served_and_nothing_is_lost(result: dict[str, Any]) -> None:
    assert result["predictions_served"] >= 50_000
    assert sum(month["predictions"] for month in result["months"]) == result["predictions_served"]
    assert result["lost_predictions"] == 0
    assert result["chain_intact"]


@pytest.mark.usefixtures("result")
def test_no_process_reaches_out(outgoing: Outgoing) -> None:
    assert outgoing.attempts() == []


def test_the_loop_beats_the_model_that_was_never_retrained(result: dict[str, Any]) -> None:
    months = [month for month in result["months"] if month["month"] >= "2013-03"]
    assert len(months) == 10
    gain = sum(month["auc_loop"] - month["auc_frozen"] for month in months) / len(months)
    assert gain >= 0.015
    assert result["retrains"] >= 3
    assert result["promotions"] >= 3


def test_the_champion_is_made_again_and_a_changed_line_is_named(
    result: dict[str, Any], home: Path, tmp_path: Path
) -> None:
    def rerun(*more: str) -> tuple[int, dict[str, Any]]:
        command = [
            sys.executable,
            "-m",
            "treadle",
            "rerun",
            "flight-delay@champion",
            "--home",
            str(home),
            "--json",
            *more,
        ]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
        return ran.returncode, json.loads(ran.stdout)

    code, found = rerun()
    assert (code, found["outcome"], found["differences"]) == (0, "equal", [])
    assert {"rows", "holdout"} <= set(
        found["identical_outputs"]
    )  # trees that are grown by threads may differ in a last bit
    text = Path(demo.__file__).with_name("project").joinpath("pipeline.py").read_text()
    (tmp_path / "pipeline.py").write_text(text.replace("learning_rate=0.06", "learning_rate=0.6"))
    line = next(
        number for number, line in enumerate(text.splitlines(), 1) if "learning_rate=0.06" in line
    )
    code, found = rerun("--code", str(tmp_path))
    assert (code, found["outcome"]) == (1, "different")
    assert [(one["of"], one["key"]) for one in found["differences"]] == [
        ("code", f"pipeline.py:{line}")
    ]
    assert "model" in found["other_outputs"]


def test_both_accidents_are_caught(result: dict[str, Any], home: Path) -> None:
    assert result["refusals"] >= 1
    assert result["rollbacks"] >= 1
    with embedded(home) as platform:
        names = {run.id: run.name for run in platform.tracking.find(project="flight-delay")}
        (wrong,) = [
            v
            for v in platform.evaluation.find(project="flight-delay")
            if names[v.run] == "wrong labels"
        ]
        (filled,) = [
            v
            for v in platform.evaluation.find(project="flight-delay")
            if names[v.run] == "filled gaps"
        ]
        assert wrong.outcome == "refused"
        assert filled.outcome == "passed"
        (rolled_back,) = platform.delivery.rollouts(state="rolled back")
        assert (
            platform.registry.get(model="flight-delay", number=rolled_back.number).run == filled.run
        )
        assert rolled_back.steps[rolled_back.position] == "20%"


def test_why_walks_from_the_champion_to_what_caused_its_training(
    result: dict[str, Any], home: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "treadle",
        "why",
        "flight-delay@champion",
        "--home",
        str(home),
        "--json",
    ]
    thread = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    kinds = [record["type"] for record in thread["events"]]
    assert kinds[0] == "AliasMoved"
    assert kinds[-1] in ("DriftFound", "RequirementMissed", "ModelStale")
    order = [
        "RolloutPromoted",
        "RolloutStarted",
        "VersionRegistered",
        "VerdictGiven",
        "TrainingFinished",
        "TrainingStarted",
    ]
    assert [kind for kind in kinds if kind in order] == order


def test_no_prediction_knew_its_label(result: dict[str, Any], home: Path) -> None:
    """Every label of the log came after the prediction it judges."""
    from datetime import UTC, datetime

    from sqlalchemy import select

    from treadle.data.tables import labels
    from treadle.serving.log_files import InferenceLogs

    with embedded(home) as platform:
        with platform.database.read() as connection:
            known_at = dict(
                connection.execute(select(labels.c.request, labels.c.at)).tuples().all()
            )
        since, until = datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 31, tzinfo=UTC)
        rows = list(InferenceLogs(home / "endpoints").read("flight-delay", since, until))
        early = [
            row.id
            for row in rows
            if row.id in known_at and known_at[row.id].timestamp() * 1e6 < row.at
        ]
        assert len(rows) > 50_000
        assert early == []


def test_the_report_is_a_page_with_pictures(result: dict[str, Any], home: Path) -> None:
    page = (home / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert "rolled back" in page
    assert f"{result['mean_auc_loop']:.4f}" in page


@pytest.mark.parametrize("number", range(2))
def test_its_pages_do_what_they_are_for_and_nothing_is_wrong_with_them(
    result: dict[str, Any], home: Path, number: int
) -> None:
    pytest.importorskip("playwright", reason="declared gap: no Playwright here")
    from tests.ui import walk
    from tests.ui.browser import CHROMIUM, browser, page_of

    if CHROMIUM is None:
        pytest.skip("declared gap: no browser here")
    look = walk.LOOKS[number]
    with embedded(home) as platform, served(platform) as url, browser() as chromium:
        for task in walk.TASKS:
            with page_of(chromium, width=look.width, dark=look.dark) as page:
                task(page, url)
        with walk.without_policy(chromium, look) as page:
            paths = walk.paths_of(page, url)
            wrong = {path: list(walk.problems_of(page, url, path)) for path in paths}
    assert len(paths) >= 30
    assert {path: those for path, those in wrong.items() if those} == {}
    assert result["chain_intact"]


def test_a_home_that_has_lived_is_not_played_over(result: dict[str, Any], home: Path) -> None:
    command = [sys.executable, "-m", "treadle", "demo", "--home", str(home)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 2
    assert "has a life already" in ran.stderr
