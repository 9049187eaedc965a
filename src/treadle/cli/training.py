"""The verb run: trains a candidate, and follows it to its verdict."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from treadle.cli import completing
from treadle.cli.output import (
    Home,
    Json,
    console,
    errors,
    home_of,
    markup,
    person,
    print_json,
    print_table,
)
from treadle.cli.step_progress import StepProgress, print_outputs
from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.evaluation.model import Verdict
    from treadle.jobs.worker import Worker
    from treadle.pipelines.model import PipelineRun
    from treadle.platform.stages import Services
    from treadle.platform.wiring import Embedded
    from treadle.registry.model import ModelVersion

_REGISTERED_WITHIN_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_NEWEST = 100  # versions and rollouts among which a run's own is looked for


def run(
    name: Annotated[str, typer.Option(help="What to call this run.")] = "",
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", help="NAME=VALUE for the pipeline.")
    ] = [],  # noqa: B006
    only: Annotated[
        list[str],
        typer.Option(
            help="Run this step and those that it needs, print what it makes, and train nothing; "
            "may be repeated.",
            metavar="STEP",
            autocompletion=completing.STEPS,
        ),
    ] = [],  # noqa: B006
    fresh: Annotated[
        list[str],
        typer.Option(
            "--from",
            help="Run this step and those that depend on it again, whatever is cached; may be "
            "repeated.",
            metavar="STEP",
            autocompletion=completing.STEPS,
        ),
    ] = [],  # noqa: B006
    asof: Annotated[
        str | None,
        typer.Option(
            help="With --only: the time (UTC) that steps receive as asof; now if omitted.",
            metavar="TIME",
        ),
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Train a candidate on the data and code of now, and judge it.

    Steps whose code and inputs have not changed are not run again, so a run that failed is resumed
    by running it once more.

    The exit code is 1 where the candidate is refused, and 2 where its training fails.
    """
    from treadle.kernel.clock import moment
    from treadle.kernel.entity import to_plain
    from treadle.kernel.event import act_as
    from treadle.platform.start import embedded
    from treadle.scope.file import nearest, read

    if asof and not only:
        raise typer.BadParameter("--asof goes with --only: a model is trained as of now.")
    if name and only:
        raise typer.BadParameter("--name is of a training's run, and --only trains nothing.")
    at = moment(asof) if asof else None
    folder = nearest(Path.cwd()) or Path.cwd()
    spec = read(folder)
    home_folder = home_of(home)
    act_as(person())
    with embedded(home_folder) as platform:
        platform.scope.declare_in(spec=spec, folder=str(folder))
        project, parameters = spec.project.name, parameters_of(parameter)
        turns = _Turns(platform, home_folder)
        if only:
            begun = platform.training.run_steps(
                project=project, steps=only, parameters=parameters, fresh=fresh, asof=at
            )
            _tell_failures(platform, project, quiet=json)
            with _cancelling_named(begun.id):
                ended = _follow_steps(platform, begun.id, turns.take, quiet=json)
            turns.drain()
            if json:
                print_json(to_plain(ended))
            else:
                print_outputs(platform, ended, only)
            return
        training = platform.training.start(
            project=project, name=name, parameters=parameters, fresh=fresh
        )
        _tell_failures(platform, project, quiet=json)
        with _cancelling_named(training.pipeline):
            verdict = _follow(platform, training.run, turns.take, quiet=json)
            version = _version_of(platform, verdict, turns.take)
        turns.drain()
        if json:
            print_json({**to_plain(verdict), "version": version.ref if version else None})
        else:
            _print_verdict(verdict)
            if version is not None:
                _print_version(platform, version)
    if verdict.outcome != "passed":
        raise typer.Exit(1)


class _Turns:
    """Turns the wheel of a home where nobody else does, and waits where somebody does.

    Args:
        platform: The home.
        home: Its folder.
    """

    def __init__(self, platform: "Embedded", home: Path) -> None:
        self._platform, self._home = platform, home
        self._worker: Worker | None = None
        self._look_at = 0.0

    def take(self) -> None:
        """Let happen what can happen now."""
        if self._worker is None and _alone(self._home):  # who worked for this run has ended
            self._worker = self._platform.worker("treadle run")
        worker = self._worker
        moved = worker.reconcile() if worker is not None else 0
        is_due = moved or time.monotonic() >= self._look_at  # others may wait for whoever leads
        if worker is not None and (is_due or not worker.busy):
            moved += self._platform.reconcile()
            self._look_at = time.monotonic() + _LOOK_SECONDS
        if not moved:
            time.sleep(0.01 if worker is not None else 0.1)

    def drain(self) -> None:
        """Do what is left to do, where it is done here."""
        if self._worker is not None:
            self._worker.drain(timeout_seconds=60, reconcile=self._platform.reconcile)


def _tell_failures(platform: "Services", project: str, *, quiet: bool) -> None:
    """Print which checks the data of this run fails."""
    if not quiet:
        for failed in platform.quality.failures(project=project):
            console.print(f"[yellow]![/] {markup(failed.words)}", soft_wrap=True)


@contextmanager
def _cancelling_named(pipeline: str) -> Iterator[None]:
    """Within this block Ctrl-C says how the pipeline is ended for good."""
    try:
        yield
    except KeyboardInterrupt:
        stop = shell("treadle", "pipelines", "cancel", "--pipeline", pipeline)
        errors.print(
            f"Interrupted. The pipeline goes on with 'treadle up'; end it for good with: {stop}",
            soft_wrap=True,
        )
        raise


def _alone(home: Path) -> bool:
    """Whether this process may turn the wheel itself: nobody else does so in this home."""
    from treadle.kernel import process
    from treadle.kernel.errors import Conflict

    try:
        process.hold(home / "run" / "worker.lock", what=f"The worker of '{home}'")
    except Conflict:
        return False
    return True


def _follow(
    platform: "Services", training: str, reconcile: Callable[[], None], *, quiet: bool
) -> "Verdict":
    """Turn until the training is judged, telling each step as it ends."""
    from treadle.kernel.errors import TreadleError

    with console.status("training …") if not quiet else nullcontext() as spinner:
        progress = StepProgress(spinner)
        while True:
            found = platform.training.get(run=training)
            progress.tell(platform.pipelines.get(pipeline=found.pipeline))
            if found.state == "failed":
                raise TreadleError(f"The training failed. {found.error}")
            if found.state == "succeeded" and spinner is not None:
                spinner.update("judging …")
            verdicts = platform.evaluation.find(run=training, limit=1)
            if verdicts:
                return verdicts[0]
            reconcile()


def _follow_steps(
    platform: "Services", pipeline: str, reconcile: Callable[[], None], *, quiet: bool
) -> "PipelineRun":
    """Turn until the steps have ended, telling each as it ends."""
    from treadle.kernel.errors import TreadleError

    with console.status("running …") if not quiet else nullcontext() as spinner:
        progress = StepProgress(spinner)
        while True:
            found = platform.pipelines.get(pipeline=pipeline)
            progress.tell(found)
            if found.state == "succeeded":
                return found
            if found.state != "running":
                raise TreadleError(f"The steps have not all run. {found.error}")
            reconcile()


def _version_of(
    platform: "Services", verdict: "Verdict", reconcile: Callable[[], None]
) -> "ModelVersion | None":
    """The version that was registered on this verdict, and on no other; None where none was.

    The loop registers it and decides on its rollout, in this process or in another one, so it is
    waited for.
    """
    deadline = time.monotonic() + _REGISTERED_WITHIN_SECONDS
    made = None
    while verdict.outcome == "passed" and time.monotonic() < deadline:
        newest = platform.registry.find(limit=_NEWEST)
        made = next((one for one in newest if one.verdict == verdict.id), None)
        if made is not None and _decided(platform, made):
            break
        reconcile()
    return made


def _decided(services: "Services", version: "ModelVersion") -> str:
    """What the loop has decided about a version's rollout; empty where it has not yet."""
    registered = services.events.history(
        type="VersionRegistered", project=version.project, newest_first=True, limit=_NEWEST
    )
    numbers = {
        record.number
        for record in registered
        if (record.body["model"], record.body["number"]) == (version.model, version.number)
    }
    decisions = services.loop.decisions(project=version.project, limit=_NEWEST)
    return next((one.reason for one in decisions if one.event in numbers), "")


def _print_verdict(verdict: "Verdict") -> None:
    from treadle.evaluation.judge import interval

    colour = {"passed": "green", "refused": "red"}.get(verdict.outcome, "yellow")
    console.print(f"Verdict: [{colour}]{verdict.outcome}[/] on {verdict.rows} rows")
    rows = [
        (
            finding.check,
            finding.says,
            finding.metric,
            interval(finding),
            finding.bound,
            finding.outcome,
        )
        for finding in verdict.findings
    ]
    print_table("", ("check", "says", "metric", "value [95 % interval]", "wanted", "outcome"), rows)
    if not verdict.findings:
        console.print(verdict.reason, markup=False, soft_wrap=True)


def _print_version(services: "Services", version: "ModelVersion") -> None:
    """What became of the version that this run made."""
    console.print(f"Registered as [bold]{markup(version.ref)}[/].", soft_wrap=True)
    rollouts = services.delivery.rollouts(endpoint=version.model, limit=_NEWEST)
    own = next((one for one in rollouts if one.number == version.number), None)
    if own is None:
        told = _decided(services, version) or f"{version.ref} is not rolled out yet"
    elif own.state == "waiting":
        told = f"{version.ref} waits for an approver: {shell('treadle', 'approve', version.ref)}"
    else:
        told = f"{version.ref} is {own.state} at step '{own.step}' of {own.endpoint}: {own.reason}"
    console.print(f"[yellow]→[/] {markup(told)}", soft_wrap=True)


def parameters_of(given: list[str]) -> dict[str, Any]:
    """Read pipeline parameters as they are typed: values as TOML would read them, else text.

    Args:
        given: Texts such as ``days=180``.

    Raises:
        Invalid: A text is no ``NAME=VALUE``.
    """
    from treadle.kernel.errors import Invalid

    parameters: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Invalid(f"'{text}' is no parameter. Write NAME=VALUE.")
        parameters[name] = _value(value)
    return parameters


def _value(text: str) -> Any:
    """A value as TOML would read it, and as text when TOML would not."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    of_each = value if isinstance(value, list) else [value]
    return value if all(isinstance(one, str | int | float | bool) for one in of_each) else text
