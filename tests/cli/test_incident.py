"""The verbs of incidents, over a home with one."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.cli.test_reading import refused, said
from tests.incidents.conftest import Ward
from tests.incidents.sinks import http_sink
from treadle.cli.main import app
from treadle.cli.news import line_of
from treadle.cli.output import console
from treadle.platform.wiring import Embedded
from treadle.registry.addresses import ALLOWED
from treadle.scope.alerting import NotifyRoute


@pytest.fixture
def ward(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Ward:
    """A command line that works on a home with a drift that the loop left to people."""
    made = Ward(open_home(target="memory:", manual_clock=True), tmp_path / "project")
    made.declare(runbook="https://example.com/[runbook]")
    made.window(0, drifts=True, misses=True)
    made.platform.loop.react()
    made.react()
    monkeypatch.setenv("TREADLE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "width", 250)
    return made


def test_an_incident_is_listed_shown_and_attended_to(ward: Ward) -> None:
    number = ward.only().id
    (row,) = [line for line in said("incident").splitlines() if "1 column has moved" in line]
    assert row.split()[:3] == [str(number), "ticket", "open"]
    assert json.loads(said("incident", "--json"))[0]["id"] == number
    text = said("incident", "show", str(number))
    assert "drift: 1 column has moved, x most (PSI 0.4) (1 times since 2026-03-02 00:00)" in text
    assert "decision braked: 'drift' is not among the declared triggers" in text
    assert "Follow the runbook: https://example.com/[runbook]" in text
    assert f"treadle incident ack {number}" in text
    assert "acknowledged p: drift, missed requirement" in said("incident", "ack", str(number))
    assert f"treadle incident ack {number}" not in said("incident", "show", str(number))
    said("incident", "note", str(number), "[bold]looked[/bold] at it")
    said("incident", "assign", str(number), "lead", "ada")
    shown = said("incident", "show", str(number))
    assert "note [bold]looked[/bold] at it" in shown and "role assigned lead: ada" in shown


def test_the_status_names_it_and_tells_nothing_twice(ward: Ward) -> None:
    text = said("status")
    (line,) = [line for line in text.splitlines() if line.startswith("Incident ")]
    assert line.startswith(f"Incident {ward.only().id} ticket open p: drift, missed requirement")
    assert "PSI" not in line


def test_the_news_tell_of_it_without_its_finding(ward: Ward) -> None:
    records = ward.platform.events.history(limit=100)
    told = [line for record in records if (line := line_of(record)) and "incident" in line]
    (opened,) = told
    assert f"treadle incident show {ward.only().id}" in opened and "PSI" not in opened


def test_a_review_is_drafted_and_closed(ward: Ward, tmp_path: Path) -> None:
    number = str(ward.only().id)
    said("incident", "followup", number, "ask for <labels>")
    said("incident", "resolve", number, "--reason", "known")
    assert "Say --aligned or --not-aligned" in refused("incident", "review", number, "--close")
    said("incident", "review", number, "--close", "--not-aligned", "--summary", "too late")
    said("incident", "tick", number, "1")
    page = tmp_path / "review.html"
    text = said("incident", "review", number, "--md", "--html", str(page))
    assert "- **Detected after**: 1 d" in text and "too late" in text
    assert "- **Retraining aligned with requirements**: no" in text
    assert r"- [x] ask for \<labels\>" in text
    written = page.read_text("utf-8")
    assert "ask for &lt;labels&gt;" in written and "@media print" in written
    assert "<script" not in written and "http" not in written.replace("https://example.com", "")


def test_silences_are_made_for_a_time(ward: Ward) -> None:
    text = said("incident", "silence", "--until", "2h", "--kind", "drift", "--project", "p")
    assert "nobody is told until" in text
    silence = ("incident", "silence", "--project", "p", "--until")
    assert "'drif'. Did you mean 'drift'?" in refused(*silence, "2h", "--kind", "drif")
    assert "'99999999d' from now is in no calendar" in refused(*silence, "99999999d")
    assert "names no time zone" in refused(*silence, "2027-01-01T00:00:00")


def test_routes_are_tried(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No route is declared" in said("notify", "test", "--project", "p")
    monkeypatch.setenv(ALLOWED, "127.0.0.1")
    with http_sink() as sink:
        ward.declare(NotifyRoute(to=sink.url), NotifyRoute(to=f"json://127.0.0.1:{sink.port}"))
        text = said("notify", "test", "--project", "p")
        assert text.count("sent") == 2 and len(sink.got) == 2
        sink.status = 404
        ended = CliRunner().invoke(app, ["notify", "test", "--project", "p", "--json"])
    assert ended.exit_code == 1
    assert [one["sent"] for one in json.loads(ended.stdout)] == [False, False]


def test_a_day_is_a_day() -> None:
    from treadle.ui.incident_review import span

    assert span(timedelta(days=1, hours=2, minutes=5).total_seconds()) == "1 d 2 h"
    assert [span(0.0), span(61.0), span(None)] == ["0 s", "1 min 1 s", "not yet"]
