"""MLflow's own pages, as its wheel ships them, on our server in a real browser."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.platform.test_platforms import served
from tests.ui.browser import CHROMIUM, browser, page_of
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ui import mlflow_pages

WHEEL = Path(__file__).parents[2] / ".clients" / "mlflow-pages"
SETTLE_MS = 1_000
"""What a page still asks for once it shows its texts; one of its workers is never idle."""
API = "/api/2.0/mlflow"
TRACE = {
    "trace_id": "tr-1",
    "state": "OK",
    "execution_duration": "1.5s",
    "request_preview": "Is it late?",
    "response_preview": "No.",
    "tags": {"mlflow.traceName": "answer"},
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("declared gap: no chromium here")
    with browser() as opened:
        yield opened


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WHEEL.is_dir(), "make .clients brings MLflow's pages"
    monkeypatch.setenv(mlflow_pages.FOLDER, str(WHEEL))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("pages")
    with Embedded(settings_for(folder / "home", sandbox="off:")) as home, served(home) as url:
        with httpx.Client(base_url=url, timeout=30) as client:
            _fill(client)
        home.traces.put(experiment=1, info=TRACE | {"request_time": datetime.now(UTC).isoformat()})
        yield url


def _fill(client: httpx.Client) -> None:
    def post(path: str, body: dict[str, Any]) -> Any:
        answer = client.post(f"{API}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert post("experiments/create", {"name": "prices"})["experiment_id"] == "1"
    for number in range(3):
        begun = {"experiment_id": "1", "run_name": f"run {number}", "start_time": 1_700_000_000_000}
        run = post("runs/create", begun)["run"]["info"]["run_id"]
        points = [
            {"key": "loss", "value": 1 / (step + 1 + number), "timestamp": step, "step": step}
            for step in range(30)
        ]
        params = [{"key": "lr", "value": str(number)}]
        post("runs/log-batch", {"run_id": run, "metrics": points, "params": params})
        for name, content in (("notes.txt", "hello from a file"), ("model/MLmodel", "flavors: {}")):
            file = f"/api/2.0/mlflow-artifacts/artifacts/1/{run}/artifacts/{name}"
            assert client.put(file, content=content.encode()).status_code == 200
        post("runs/update", {"run_id": run, "status": "FINISHED", "end_time": 1_700_000_009_000})
    post("registered-models/create", {"name": "price"})
    post("model-versions/create", {"name": "price", "source": f"runs:/{run}/model", "run_id": run})
    post("registered-models/alias", {"name": "price", "alias": "best", "version": "1"})


def runs(url: str) -> list[str]:
    found = httpx.post(f"{url}{API}/runs/search", json={"experiment_ids": ["1"]}).json()["runs"]
    return [str(one["info"]["run_id"]) for one in found]


def shown(chromium: Browser, address: str, *texts: str) -> None:
    """A page tells these texts, and its console nothing; what it asks for is ours, and there."""
    asked, failed = list[str](), list[str]()
    with page_of(chromium) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on(
            "response",
            lambda answer: (
                failed.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None
            ),
        )
        page.goto(address)
        for text in texts:
            expect(page.get_by_text(text).locator("visible=true").first).to_be_visible()
        page.wait_for_timeout(SETTLE_MS)
    assert failed == []
    outside = [one for one in asked if not re.match(r"(blob|data):|http://127\.0\.0\.1:", one)]
    assert outside == []


def test_experiments_and_runs(chromium: Browser, url: str) -> None:
    shown(chromium, f"{url}/mlflow/#/experiments", "prices")
    shown(chromium, f"{url}/mlflow/#/experiments/1/runs", "run 0", "run 1", "run 2")


def test_a_run_with_its_curves_and_files(chromium: Browser, url: str) -> None:
    run = f"{url}/mlflow/#/experiments/1/runs/{runs(url)[0]}"
    shown(chromium, run, "About this run", "loss", "lr")
    shown(chromium, f"{run}/model-metrics", "Model metrics", "Add chart")
    shown(chromium, f"{run}/artifacts/notes.txt", "hello from a file")


def test_runs_beside_one_another(chromium: Browser, url: str) -> None:
    first, second, _ = runs(url)
    beside = f'compare-runs?runs=["{first}","{second}"]&experiments=["1"]'
    shown(chromium, f"{url}/mlflow/#/{beside}", "Comparing 2 Runs from 1 Experiment", "Run details")


def test_models(chromium: Browser, url: str) -> None:
    shown(chromium, f"{url}/mlflow/#/models", "price")
    shown(chromium, f"{url}/mlflow/#/models/price", "Version 1")
    shown(chromium, f"{url}/mlflow/#/models/price/versions/1", "Promote model", "Schema")
    shown(chromium, f"{url}/mlflow/#/experiments/1/models", "Table view")
    shown(chromium, f"{url}/mlflow/#/experiments/1/overview/usage", "Usage")


def test_traces(chromium: Browser, url: str) -> None:
    shown(chromium, f"{url}/mlflow/#/experiments/1/traces", "Is it late?")


def test_a_run_is_renamed_by_hand(chromium: Browser, url: str) -> None:
    run = runs(url)[0]
    with page_of(chromium) as page:
        page.goto(f"{url}/mlflow/#/experiments/1/runs/{run}")
        _rename(page, "by hand")
        expect(page.get_by_text("by hand").first).to_be_visible()
    asked = {"run_id": run}
    told = httpx.get(f"{url}{API}/runs/get", params=asked).json()
    assert told["run"]["info"]["run_name"] == "by hand"


def _rename(page: Page, name: str) -> None:
    page.locator("[data-testid='overflow-menu-trigger']").click()
    page.locator("[data-testid='overflow-rename-button']").click()
    page.get_by_test_id("rename-modal-input").fill(name)
    page.get_by_role("button", name="Save").click()


def test_what_the_pages_write_is_written(url: str) -> None:
    run = runs(url)[0]
    tag = {"run_id": run, "key": "mlflow.note.content", "value": "seen"}
    answer = httpx.post(f"{url}/mlflow/ajax-api/2.0/mlflow/runs/set-tag", json=tag)
    assert answer.status_code == 200
    told = httpx.get(f"{url}{API}/runs/get", params={"run_id": run}).json()["run"]["data"]
    assert {"key": "mlflow.note.content", "value": "seen"} in told["tags"]


def test_pages_reach_nothing_else_and_name_what_is_missing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with httpx.Client(base_url=url) as client:
        page = client.get("/mlflow/")
        assert "connect-src 'self'" in page.headers["content-security-policy"]
        assert client.get("/mlflow").headers["location"] == "/mlflow/"
        for wrong in (
            "../index.html",
            "%2e%2e/%2e%2e/handlers.py",
            "..%2f..%2f..%2f__init__.py",
            "x",
            "%00",
            "a%00b",
            "a" * 300,
        ):
            assert client.get(f"/mlflow/static-files/{wrong}").status_code == 404, wrong
        assert client.get("/mlflow/api/v1/scope/projects").status_code == 404
        monkeypatch.setenv(mlflow_pages.FOLDER, str(tmp_path))
        missing = client.get("/mlflow/")
        assert missing.status_code == 404
        assert "pip install --no-deps mlflow" in missing.json()["message"]
