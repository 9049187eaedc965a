"""The pages of experiments, runs, comparisons and traces, in a real browser."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="declared gap: no Playwright here")

from playwright.sync_api import Browser, Page, expect

from tests.platform.test_platforms import served
from tests.ui.browser import CHROMIUM, browser, page_of
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.tracking.model import Metric

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="declared gap: no browser here")
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with page_of(chromium) as opened:
        yield opened


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Embedded(settings_for(tmp_path_factory.mktemp("pages") / "home")) as home:
        fill(home)
        with served(home) as address:
            yield address


def fill(home: Embedded) -> None:
    tracking = home.tracking
    for place in range(30):
        depth, started = place % 5, START + timedelta(minutes=place)
        run = tracking.start_run(
            experiment="tuning",
            project="delay",
            id=f"run_{place:02d}",
            name=f"try-{place}",
            params={"depth": str(depth), "kind": "ab"[place % 2]},
            tags={"mlflow.note.content": "A **bold** note <b>not</b>"} if place == 3 else {},
            started_at=started,
        ).id
        points = [
            Metric(key="val/loss", value=1 / (step + 1 + depth), step=step) for step in range(20)
        ]
        tracking.log(run=run, metrics=points)
        tracking.finish_run(run=run)
    table = home.blobs.put(b'carrier,note\nAA,"a, ""b"""\nB6,fine\n')
    tracking.add_artifact(run="run_03", path="tables/rows.csv", digest=table, bytes=34)
    trace(home, tracking.experiment(name="tuning").id)


def trace(home: Embedded, experiment: int) -> None:
    info: dict[str, Any] = {
        "trace_id": "tr-1",
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    info |= {"tags": {"mlflow.traceName": "answer"}, "request_preview": "Is it late?"}
    home.traces.put(experiment=experiment, info=info)
    spans: list[dict[str, Any]] = [
        {"span_id": "a", "name": "answer", "start_time_unix_nano": "1000000000"},
        {"span_id": "b", "parent_span_id": "a", "name": "look up", "attributes": {"k": "5"}},
    ]
    for span, times in zip(spans, [("1000", "5000"), ("2000", "3000")], strict=True):
        span["start_time_unix_nano"], span["end_time_unix_nano"] = (f"{t}000000" for t in times)
    home.traces.add_spans(
        experiment=experiment,
        spans=[("tr-1", span) for span in spans],
        begun=lambda *_: info,
        tags={},
    )


def test_a_home_with_runs_only_opens_on_them(page: Page, url: str) -> None:
    page.goto(url)
    expect(page).to_have_url(f"{url}/experiments")
    page.get_by_role("link", name="tuning").click()
    expect(page.locator("#count")).to_have_text("30 runs")


def test_links_of_mlflows_clients_lead_to_the_matching_page(page: Page, url: str) -> None:
    page.goto(f"{url}/#/experiments/1/runs/run_03")
    expect(page).to_have_url(f"{url}/runs/run_03")
    page.goto(f"{url}/#/experiments/1")
    expect(page).to_have_url(f"{url}/experiments/1")


def test_runs_are_filtered_while_one_types(page: Page, url: str) -> None:
    page.goto(f"{url}/experiments/1")
    expect(page.locator("#count")).to_have_text("30 runs")
    box = page.get_by_role("combobox", name="Filter")
    box.press_sequentially("dep")
    page.get_by_role("listbox").get_by_text("params.depth").click()
    box.press_sequentially("= '2'")
    expect(page.locator("#count")).to_have_text("6 runs")
    assert "filter=params.depth" in page.url
    box.press_sequentially(" AND")
    expect(page.get_by_role("alert")).to_contain_text("Cannot read the filter")
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("Cannot read the filter")


def test_chosen_runs_are_compared(page: Page, url: str) -> None:
    page.goto(f"{url}/experiments/1?group=params.depth&order=metrics.val/loss")
    expect(page.locator(".tabulator-group").first).to_contain_text("6 runs")
    boxes = page.locator(".tabulator-row:not(.tabulator-group) input[type=checkbox]")
    boxes.nth(0).check()
    boxes.nth(7).check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 runs side by side")
    expect(page.locator("table[data-table=parameters] tr.differs")).not_to_have_count(0)
    expect(page.locator("figure.chart canvas")).to_have_count(1)


def test_charts_and_parameters_are_drawn(page: Page, url: str) -> None:
    page.goto(f"{url}/experiments/1?tab=charts&smooth=0.5")
    expect(page.locator("figure.chart canvas")).to_have_count(1)
    page.get_by_label("log y").check()
    expect(page.locator("figure.chart canvas")).to_have_count(1)
    assert "log=y" in page.url
    page.get_by_role("link", name="Parameters").click()
    expect(page.get_by_role("group", name="val/loss against depth")).to_be_visible()
    expect(page.get_by_role("img", name="Parallel coordinates of 30 runs")).to_be_visible()
    expect(page.locator("#explore td").first).to_have_text("depth")


def test_a_view_is_saved_and_found_again(page: Page, url: str) -> None:
    page.goto(f"{url}/experiments/1?filter=params.kind = 'a'")
    expect(page.locator("#count")).to_have_text("15 runs")
    page.locator("summary", has_text="Views").click()
    page.get_by_label("Name of the view").fill("only a")
    page.get_by_role("button", name="Save this view").click()
    expect(page.get_by_role("link", name="only a")).to_be_visible()
    page.goto(f"{url}/experiments/1")
    page.locator("summary", has_text="Views").click()
    page.get_by_role("link", name="only a").click()
    expect(page.locator("#count")).to_have_text("15 runs")


def test_a_run_shows_its_note_its_files_and_its_curve(page: Page, url: str) -> None:
    page.goto(f"{url}/runs/run_03")
    expect(page.locator(".note strong")).to_have_text("bold")
    expect(page.locator(".note b")).to_have_count(0)
    page.get_by_role("link", name="Files").click()
    page.get_by_role("link", name="rows.csv").click()
    expect(page.locator("#preview td")).to_have_text(["AA", 'a, "b"', "B6", "fine"])
    page.get_by_role("link", name="Charts").click()
    expect(page.locator("figure.chart canvas")).to_have_count(1)


def test_the_steps_of_a_trace_are_a_waterfall(page: Page, url: str) -> None:
    page.goto(f"{url}/traces")
    page.get_by_role("link", name="Is it late?").click()
    bars = page.locator(".waterfall rect.took")
    expect(bars).to_have_count(2)
    assert [bars.nth(1).get_attribute(name) for name in ("x", "width")] == ["250.0", "250.0"]
    page.get_by_role("link", name="look up").click()
    expect(page.locator("#span td")).to_have_text(["k", "5"])


@pytest.mark.parametrize(("width", "dark"), [(360, True), (2560, False)])
def test_no_page_is_wider_than_its_window(
    chromium: Browser, url: str, width: int, dark: bool
) -> None:
    with page_of(chromium, width=width, dark=dark) as page:
        for path in PATHS:
            page.goto(f"{url}{path}")
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, (path, wide)


PATHS = (
    *("/experiments", "/experiments/1", "/experiments/1?tab=charts", "/runs/run_03"),
    *("/runs/run_03?tab=files", "/compare?runs=run_03,run_04", "/traces", "/traces/tr-1"),
)


def test_the_table_is_saved_as_csv(page: Page, url: str, tmp_path: Path) -> None:
    page.goto(f"{url}/experiments/1")
    expect(page.locator("#count")).to_have_text("30 runs")
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    saved.value.save_as(tmp_path / "runs.csv")
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    assert len(lines) == 31
    assert lines[0].startswith("id,name,status,started,took,user,metrics.val/loss")
