"""The pages of studies, in a real browser."""

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="declared gap: no Playwright here")

from playwright.sync_api import Browser, Page, expect

from tests.platform.test_platforms import served
from tests.ui.browser import CHROMIUM, browser, page_of
from tests.ui.walk import LOOKS, Look, problems_of, without_policy
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.tuner import Bound, Direction, Range, SearchPlan
from treadle.tuning.model import StudyPlan
from treadle.ui import studies

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="declared gap: no browser here")
STUDY = "delay/2026 7"
FRONT = "two objectives"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with page_of(chromium) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(settings_for(tmp_path_factory.mktemp("pages") / "home")) as opened:
        fill(opened)
        yield opened


@pytest.fixture(scope="module")
def url(home: Embedded) -> Iterator[str]:
    with served(home) as address:
        yield address


def fill(home: Embedded) -> None:
    """A study with trials in each state, and one with two objectives."""
    begin(home, STUDY, ["auc"], ["maximize"], trials=20)
    for _ in range(12):
        finish(home, STUDY)
    for state in ("pruned", "failed"):
        finish(home, STUDY, state)
    home.tuning.ask(study=STUDY)
    begin(home, FRONT, ["auc", "latency_ms"], ["maximize", "minimize"], trials=0)
    for _ in range(8):
        finish(home, FRONT)
    home.tuning.finish(study=FRONT)


def begin(
    home: Embedded, name: str, metrics: list[str], directions: list[Direction], *, trials: int
) -> None:
    space = {"leaves": Range(low=4, high=32, log=True), "rate": Range(low=0.0, high=1.0)}
    search = SearchPlan(space={**space, "kind": ["a", "b"]}, directions=directions)
    limits = {"size_mb": Bound(at_most=25.0)}
    plan = StudyPlan(search=search, metrics=metrics, constraints=limits, trials=trials)
    home.tuning.start(project="delay", name=name, plan=plan)


def finish(home: Embedded, study: str, state: str = "finished") -> None:
    trial = home.tuning.ask(study=study)
    assert trial is not None
    auc = 0.9 - (trial.params["rate"] - 0.4) ** 2
    measured = {"auc": auc, "latency_ms": 1 + trial.params["leaves"] / 10}
    measured["size_mb"] = float(trial.params["leaves"])
    home.tuning.tell(
        study=study,
        number=trial.number,
        attempt=trial.attempt,
        state=state,  # type: ignore[arg-type]
        metrics=measured if state == "finished" else None,
        error="ValueError: it cannot learn" if state == "failed" else None,
    )


def test_a_study_is_read_extended_and_taken_over(page: Page, url: str, home: Embedded) -> None:
    page.goto(f"{url}/experiments")
    page.get_by_role("link", name="Studies").click()
    page.get_by_role("link", name=STUDY).click()
    expect(page.locator("figure.chart .u-legend")).to_contain_text("best so far")
    [best] = home.tuning.best(study=STUDY)
    row = page.locator("table[data-table=best] tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text(f"treadle tune apply --study '{STUDY}'")
    trials = page.locator("table[data-table=trials] tbody tr")
    expect(trials).to_have_count(15)
    expect(trials.filter(has_text="failed")).to_contain_text("it cannot learn")
    page.get_by_label("Trials at most").fill("30")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_text("of at most 30 trials")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    trials.filter(has_text="running").get_by_role("button", name="Give up").click()
    expect(page.get_by_role("button", name="Give up").locator("..")).to_contain_text("Done.")
    again = home.tuning.ask(study=STUDY)  # it is begun again, and its run is another
    assert again is not None
    assert (again.number, again.attempt) == (14, 2)
    expect(trials.filter(has_text="running")).to_contain_text("attempt 2", timeout=20_000)
    row.get_by_role("link").click()
    page.get_by_role("link", name=f"study {STUDY}").click()
    page.get_by_role("link", name="Parameters").click()
    shares = page.locator("table[data-table=parameters] tbody tr")
    expect(shares).to_have_count(3)
    expect(shares.filter(has_text="leaves")).to_contain_text(
        "whole numbers from 4 to 32, on a logarithmic scale"
    )
    expect(shares.filter(has_text="rate")).to_contain_text("%")
    assert best.params.keys() == {"leaves", "rate", "kind"}


def test_a_front_has_a_command_for_each_of_its_trials(page: Page, url: str, home: Embedded) -> None:
    page.goto(f"{url}/studies")
    page.get_by_role("link", name=FRONT).click()
    front = home.tuning.best(study=FRONT)
    rows = page.locator("table[data-table=best] tbody tr")
    expect(rows).to_have_count(len(front))
    expect(rows.first).to_contain_text(f"--trial {front[0].number}")
    expect(page.locator("figure.chart .uplot")).to_have_count(2)
    expect(page.get_by_role("button", name="Close its run")).to_have_count(0)


def test_older_trials_are_on_pages_of_their_own(
    page: Page, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "AT_ONCE", 5)
    page.goto(f"{url}/studies/{FRONT}")
    trials = page.locator("table[data-table=trials] tbody tr td:first-child")
    expect(trials).to_have_text(["7", "6", "5", "4", "3"])
    page.get_by_role("link", name="Older").click()
    expect(trials).to_have_text(["2", "1", "0"])
    expect(page.get_by_role("link", name="Older")).to_have_count(0)
    page.get_by_role("link", name="Newest").click()
    expect(trials.first).to_have_text("7")


@pytest.mark.parametrize("look", LOOKS[:2], ids=str)
def test_pages_of_studies_are_for_everybody(chromium: Browser, url: str, look: Look) -> None:
    paths = ("/studies", "/studies/delay%2F2026%207", f"/studies/{FRONT}?tab=parameters")
    with without_policy(chromium, look) as opened:
        wrong = {path: list(problems_of(opened, url, path)) for path in paths}
    assert not any(wrong.values()), wrong
