"""The demo tells how far it is and how long the rest takes; it promises no duration."""

import io
import re
from importlib.resources import files

import pytest
from rich.console import Console

from tests.cli.commands import made_by_hand
from treadle.cli.demo import progress
from treadle.cli.demo.progress import YearProgress


@pytest.mark.parametrize("terminal", [True, False])
def test_the_remaining_time_follows_the_pace_so_far(
    terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: seconds[0])
    screen = io.StringIO()
    with YearProgress(Console(file=screen, force_terminal=terminal, width=120)) as year:
        seconds[0] = 2.0
        year.show(0.01, "training on January")
        assert " left" not in screen.getvalue(), "too early to tell"
        seconds[0] = 40.0
        year.show(0.25, "01 May: 40,000 predictions")
    assert "2:00 left" in screen.getvalue()
    assert "01 May: 40,000 predictions" in screen.getvalue()


def test_without_a_terminal_a_line_is_printed_for_each_month(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.StringIO()
    with YearProgress(Console(file=screen, width=120)) as year:
        for day in ("30 April", "01 May", "02 May", "01 June"):
            year.show(0.02, f"{day}: 1 predictions")
    assert [line.split(":")[0] for line in screen.getvalue().splitlines()] == [
        "  2%  30 April",
        "  2%  01 May",
        "  2%  01 June",
    ]


def test_no_text_of_the_demo_promises_a_duration() -> None:
    texts = [made_by_hand()["demo"].help]
    for file in files("treadle.cli.demo").iterdir():
        if file.name.endswith(".py"):
            texts.append(file.read_text(encoding="utf-8"))
    assert [text for text in texts if re.search(r"(good|a|two) minutes?\b", text)] == []
