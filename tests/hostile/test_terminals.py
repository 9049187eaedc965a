"""A terminal obeys rich and nothing else: what is printed shows control characters as codes."""

import ast
import inspect
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from hypothesis import HealthCheck, example, given, settings
from rich.text import Text

import treadle.cli
from tests.hostile.test_languages import invisible
from tests.hostile.texts import any_texts, filled, unicode_texts
from treadle.cli import completing, daily, main, output, rollouts, runs, wheel
from treadle.cli.output import Terminal, markup
from treadle.cli.verbs import Session
from treadle.delivery.model import Rollout
from treadle.kernel.escaping import visible
from treadle.loop.model import ProjectStatus
from treadle.tracking.model import Run

STYLE = re.compile(r"\x1b\[[0-9;]*m")
RICH = ["console.print", "errors.print", "spinner.update", "console.status"]
OURS = {
    *("colour", "colours.get(found.outcome, 'red')", "style", "sign", "word", "lead", "indent"),
    *("how", "exception", "part", "compared", "cost", "shown", "size", "name", "told", "stop"),
    *("problem", "owner", "environment", "_words(record)", "what", "run.status", "added"),
    *("rollout.state", "verdict.outcome", "verdict.rows", "found.outcome", "step.name"),
    *("packed.inputs", "made.inputs", "planned.replicas", "address.url", "digest"),
    *("result.lost_predictions", "result.retrains", "result.promotions", "result.refusals"),
    *("result.rollbacks", "result.events", "image.digest", "imported.runs_here_already"),
}
"""What is printed within markup and needs no `markup()`: words of ours, numbers, digests, names of
Python, and lines that were put together of `markup()` before.
"""


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the command line prints, on a terminal of sixteen colours."""
    out = io.StringIO()
    made = Terminal(file=out, force_terminal=True, color_system="standard", width=4000)
    for module in (output, daily, rollouts, runs, wheel):
        monkeypatch.setattr(module, "console", made)
    return out


def plain(screen: io.StringIO) -> str:
    """What stands on the screen now; all that it obeys are rich's colours."""
    shown = screen.getvalue()
    screen.seek(0)
    screen.truncate()
    text = STYLE.sub("", shown)
    assert not invisible(text), ascii(text)
    return text


same_screen = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_screen
@given(any_texts)
@example("\x1b[2J\x1b]0;owned\x07")
def test_printed_text(screen: io.StringIO, text: str) -> None:
    output.console.print(text, markup=False, soft_wrap=True)
    output.console.print(Text(text), soft_wrap=True)
    output.console.out(text)
    output.print_table(visible(text), (text, "b"), [(text, 1.0)], colours={text: "red"})
    plain(screen)


@given(any_texts)
@example("\\")
@example("\\\\\\")
@example("x[/]\\")
@example("\\[")
@example("\\\\[a \\[b]\\[")
def test_text_within_markup(text: str) -> None:
    shown = Text.from_markup(f"[bold]{markup(visible(text))}[/] [red]end[/]", emoji=False)
    assert shown.plain == f"{visible(text)} end"
    assert [str(span.style) for span in shown.spans if span.start < span.end] == ["bold", "red"]


@same_screen
@given(unicode_texts)
def test_json(screen: io.StringIO, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", out)
        output.print_json({text: text})
    assert json.loads(out.getvalue()) == {text: text}
    assert not invisible(out.getvalue()) and out.getvalue().count("\n") == 1
    output.print_pretty({text: text})
    assert json.loads(plain(screen)) == {text: text}


@same_screen
@given(any_texts)
def test_what_verbs_print(screen: io.StringIO, text: str) -> None:
    def session(**services: Any) -> Session:
        made = Session(None, None, None, json=False)
        made._services = cast(Any, SimpleNamespace(**services))
        return made

    def told(text: str) -> str:
        wheel._print_status(filled(ProjectStatus, text))
        rollouts._print_rollout(filled(Rollout, text, {"position": 0}), session())
        experiment = SimpleNamespace(name=text)
        tracking = SimpleNamespace(experiment=lambda **_: experiment)
        runs._print_head(cast(Any, SimpleNamespace(tracking=tracking)), filled(Run, text))
        return plain(screen)

    assert re.sub(r"\s", "", visible(text)) in re.sub(r"\s", "", told(text))
    told(text)


@same_screen
@given(unicode_texts)
def test_the_log_of_a_job(screen: io.StringIO, text: str) -> None:
    chunk = SimpleNamespace(text=text, next_offset=0, ended=True)
    made = Session(None, None, None, json=False)
    made._services = cast(Any, SimpleNamespace(jobs=SimpleNamespace(log=lambda **_: chunk)))
    daily.logs(made, "job")
    assert plain(screen).split() == visible(text).split()


@same_screen
@given(any_texts)
def test_an_error(screen: io.StringIO, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main, "errors", output.console)
        with pytest.raises(SystemExit):
            main._end("Invalid", f"'{text}' is none.", retry=False, json=False)
    assert plain(screen).split() == f"treadle: '{visible(text)}' is none.".split()  # tabs widen


@given(unicode_texts)
def test_a_shell_is_offered_plain_words_only(text: str) -> None:
    names = [f"a-{text}", "a-run", "a;id", "$(id)", "a b"]
    offering = completing._offering(lambda _: names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(completing, "_services", lambda _: None)
        offered = offering(cast(typer.Context, SimpleNamespace(params={})), "")
    assert "a-run" in offered
    assert all(re.fullmatch(r"[\w@%+=:,./-]+", name, re.ASCII) for name in offered)


def printed() -> Iterator[tuple[str, ast.expr]]:
    """Every value that the command line prints within markup."""
    for file in Path(treadle.cli.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(call, ast.Call) or ast.unparse(call.func) not in RICH:
                continue
            if any(keyword.arg == "markup" for keyword in call.keywords):
                continue
            for part in (node for argument in call.args for node in ast.walk(argument)):
                if isinstance(part, ast.FormattedValue) and not part.format_spec:
                    yield f"{file.name}:{call.lineno}", part.value


def is_text_of_ours(value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return isinstance(value.body, ast.Constant) and isinstance(value.orelse, ast.Constant)
    if isinstance(value, ast.Call) and ast.unparse(value.func) in ("markup", "len"):
        return True
    return ast.unparse(value) in OURS


def test_every_value_within_markup_is_written_as_text() -> None:
    found = list(printed())
    assert len(found) > 40, "this test sees what is printed"
    strange = [f"{at} {ast.unparse(value)}" for at, value in found if not is_text_of_ours(value)]
    assert strange == [], "print it with markup=False, or within markup()"


def test_every_console_is_ours() -> None:
    assert {type(output.console), type(output.errors)} == {Terminal}
    assert "Console(" not in inspect.getsource(main)
