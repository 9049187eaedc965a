"""Tells on the terminal how the steps of a pipeline run go on."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from treadle.cli.output import console, markup

if TYPE_CHECKING:
    from treadle.pipelines.model import PipelineRun, StepRun
    from treadle.platform.wiring import Embedded

SHOWN_CHARACTERS = 2000


class StepProgress:
    """Prints each step of a run once when it has ended, and each try that has failed.

    Args:
        spinner: What shows the steps that run; None prints nothing at all.
    """

    def __init__(self, spinner: Any) -> None:
        self._spinner = spinner
        self._ended, self._tries = set[str](), set[tuple[str, int]]()

    def tell(self, pipeline: "PipelineRun") -> None:
        """Print what has changed since it was called before.

        Args:
            pipeline: The run as it is now.
        """
        if self._spinner is None:
            return
        for step in pipeline.steps:
            if step.state in ("succeeded", "skipped") and step.name not in self._ended:
                self._ended.add(step.name)
                self._tell_end(step, pipeline.parts_of(step.name))
        for step in [*pipeline.steps, *pipeline.parts]:
            is_new = (step.name, step.tries) not in self._tries
            if step.retry_at and step.state != "failed" and is_new:
                self._tries.add((step.name, step.tries))
                console.print(
                    f"[yellow]![/] {markup(step.name)} has failed {step.tries:d} times, and is "
                    f"tried again: {markup(step.error or '')}",
                    soft_wrap=True,
                )
        if running := [step for step in pipeline.steps if step.state == "running"]:
            self._spinner.update(f"{', '.join(_running(step, pipeline) for step in running)} …")

    def _tell_end(self, step: "StepRun", parts: "list[StepRun]") -> None:
        if step.state == "skipped":
            console.print(f"[dim]-[/] {markup(step.name)} skipped")
            return
        how = "from the cache" if step.cached else f"in {step.seconds:.1f} s"
        if parts:
            cached = sum(part.cached for part in parts)
            calls = "1 call" if len(parts) == 1 else f"{len(parts):,} calls"
            how += f", {calls}" + (f", {cached:,} from the cache" if cached else "")
        console.print(f"[green]✓[/] {markup(step.name)} {how}")


def _running(step: "StepRun", pipeline: "PipelineRun") -> str:
    parts = pipeline.parts_of(step.name)
    states = Counter(part.state for part in parts)
    name = markup(step.name)
    return f"{name} {states['succeeded']:,} of {len(parts):,}" if parts else name


def print_outputs(home: "Embedded", pipeline: "PipelineRun", steps: list[str]) -> None:
    """Print what some steps of a run have made: values as JSON, and the size of all else.

    Args:
        home: The home.
        pipeline: The run, which has succeeded.
        steps: Names of the steps.
    """
    from treadle.pipelines import output

    for name in steps:
        step = pipeline.step(name)
        if step is None or step.output is None:
            continue
        said = f"{step.kind}, {home.pipelines.output_bytes(step):,} bytes"
        if step.kind == "table":
            rows, columns = output.load(home.pipelines.fetch_output(step), "table", None).shape
            said = f"table, {rows:,} rows of {columns:,} columns"
        elif (value := _value_of(home, step)) is not None:
            said = value if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]} …"
        console.print(f"{markup(name)}: {markup(said)}", soft_wrap=True)


def _value_of(home: "Embedded", step: "StepRun") -> str | None:
    """What a step has returned, as JSON; None where that is no value."""
    from treadle.kernel.entity import to_json
    from treadle.pipelines import output

    folder = home.pipelines.fetch_output(step)
    kinds = output.kinds_of(folder) if step.kind == "list" else [step.kind]
    if any(kind != "value" for kind in kinds) or step.kind is None:
        return None
    return to_json(output.load(folder, step.kind, None)).decode()
