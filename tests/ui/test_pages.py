"""The pages, in a real browser where there is one."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.platform.test_platforms import served
from tests.registry.test_service import registered, verdict
from treadle.http.asking import Asked
from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.platform.wiring import Embedded
from treadle.testing.platform import SPEC
from treadle.ui.site import source_of

STAGES = kinds_of(stages())

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=4000",
]


def test_the_wheel_page_shows_every_project(open_home: Callable[..., Embedded]) -> None:
    home = open_home()
    home.scope.declare(spec=SPEC)
    with served(home) as url:
        page = httpx.get(url).text
    assert "a problem" in page
    assert "roc_auc ≥ 0.6" in page
    assert "not measured yet" in page


def test_the_page_of_a_run_asks_for_the_tab_that_it_shows(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    run = home.tracking.start_run(experiment="first", params={"depth": "3"}).id
    found = {"overview": "depth", "charts": "more than one value", "files": "No file is attached"}
    found |= {"code": "treadle rerun", "why": "RunStarted", "": "depth"}
    with served(home) as url:
        for tab, text in found.items():
            page = httpx.get(f"{url}/runs/{run}", params={"tab": tab}).text
            assert text in page, tab
            assert ("registry/search" in page) == (tab in ("overview", "")), tab


def test_who_sees_no_experiment_sees_an_empty_list_of_traces(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    secret = home.access.create_token(name="reader", role="viewer", project="p").secret
    home.tracking.create_experiment(name="of another project", project="other")
    with served(home) as url:
        answer = httpx.get(f"{url}/traces", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 200
    assert "of another project" not in answer.text


def test_who_sees_one_project_is_not_offered_the_events_of_all(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    secrets = {
        project: home.access.create_token(name=project, role="viewer", project=project).secret
        for project in ("p", "*")
    }
    with served(home) as url:
        pages = {
            project: httpx.get(f"{url}/events", headers={"Authorization": f"Bearer {secret}"}).text
            for project, secret in secrets.items()
        }
    everything = '<option value="">'
    assert everything in pages["*"]
    assert everything not in pages["p"]
    assert "<option selected>p</option>" in pages["p"]


def test_the_report_of_the_demo_is_linked_where_there_is_one(
    open_home: Callable[..., Embedded],
) -> None:
    home = open_home()
    with served(home) as url:
        assert "/report" not in httpx.get(url).text
        (home.settings.folder / "report.html").write_text("a year")
        assert '<a href="/report">' in httpx.get(url).text
        assert httpx.get(f"{url}/report").text == "a year"


def test_a_model_shows_verdicts_older_than_the_newest_of_its_project(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_home()
    registered(home, "a", "b")
    for name in ("c", "d", "e"):
        verdict(home, name, outcome="refused")
    monkeypatch.setattr("treadle.ui.models.MOST", 2)
    with served(home) as url:
        page = httpx.get(f"{url}/models/shop").text
    assert page.count(">passed</span>") == 2
    assert [one.id for one in home.evaluation.find(verdicts=["verdict_a"])] == ["verdict_a"]
    assert home.evaluation.find(verdicts=[]) == []


@pytest.mark.parametrize(
    ("stage", "name", "given", "command"),
    [
        ("reviews", "close", {"incident": 3, "aligned": False}, "--incident 3 --no-aligned"),
        ("reviews", "close", {"incident": 3, "aligned": True}, "--incident 3 --aligned"),
        ("tracking", "search", {"experiments": [1, 2]}, "--experiments '[1,2]'"),
        ("tracking", "search", {"filter": "a b"}, "--filter 'a b'"),
    ],
)
def test_a_page_names_the_command_that_gives_the_same(
    stage: str, name: str, given: dict[str, Any], command: str
) -> None:
    asked = Asked(stage, operations(STAGES[stage])[name], given)
    assert source_of(asked).command == f"treadle {stage} {name} {command}"


def test_an_empty_home_says_what_to_do_next(open_home: Callable[..., Embedded]) -> None:
    with served(open_home()) as url:
        assert "treadle init NAME" in httpx.get(url).text


@pytest.mark.skipif(BROWSER is None, reason="declared gap: no browser here (Debian's chromium)")
def test_a_browser_lists_every_operation_and_can_try_them(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    with served(open_home()) as url:
        command = [
            str(BROWSER),
            *FLAGS,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            f"{url}/api",
        ]
        page = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True
        ).stdout
    for stage, kind in STAGES.items():
        for name in operations(kind):
            assert f"/api/v1/{stage}/{name}:" in page
    assert page.count("Try it</button>") == sum(len(operations(kind)) for kind in STAGES.values())


def test_a_page_of_another_site_cannot_command_this_one(open_home: Callable[..., Embedded]) -> None:
    with served(open_home()) as url:
        foreign = httpx.post(
            f"{url}/api/v1/tracking/start_run",
            json={"project": "p"},
            headers={"Origin": "http://evil.example"},
        )
        renamed = httpx.get(f"{url}/api/v1/scope/projects", headers={"Host": "evil.example"})
        own = httpx.post(
            f"{url}/api/v1/tracking/start_run", json={"project": "p"}, headers={"Origin": url}
        )
    assert (foreign.status_code, renamed.status_code, own.status_code) == (403, 403, 200)
    assert "http://evil.example" in foreign.json()["message"]
