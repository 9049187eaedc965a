"""Shows how far the played year is: a bar with the remaining time, or a line a month."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

from treadle.kernel.clock import monotonic


class YearProgress:
    """A bar on a terminal; elsewhere a line whenever another month begins.

    Args:
        console: Where the progress is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = monotonic()
        self._month = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<44}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[remaining]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0, remaining="")

    def __enter__(self) -> "YearProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, share: float, doing: str) -> None:
        """Show a step of the play.

        Args:
            share: The part of the play that is done, from 0 to 1.
            doing: What is being done, such as ``03 May: 12,000 predictions``.
        """
        remaining = self._remaining(share)
        self._bar.update(self._task, completed=share, description=doing, remaining=remaining)
        month = doing.split(":")[0].split(" ")[-1]
        if not self._console.is_terminal and month != self._month:
            self._month = month
            line = f"{share:4.0%}  {doing}{remaining and ', '}{remaining}"
            self._console.print(line, markup=False, soft_wrap=True)

    def _remaining(self, share: float) -> str:
        """The time that the rest takes at the pace so far; empty while too little is done."""
        if share < 0.1:
            return ""
        minutes, seconds = divmod(round((monotonic() - self._started) * (1 - share) / share), 60)
        return f"{minutes}:{seconds:02} left"
