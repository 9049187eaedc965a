"""``treadle.run``: a run to log to, in a home or on a server; and sending what its spool holds."""

import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.platform.settings import home_of, settings_for
from treadle.recording.recorder import Recording
from treadle.recording.system import Machine
from treadle.recording.uploader import Store, Synced, Uploader, is_sending, spooled

if TYPE_CHECKING:
    from treadle.platform.stages import Services

_opened: dict[tuple[str, str, str], "Services"] = {}
_opening = threading.Lock()


def run(
    experiment: str = "",
    *,
    name: str = "",
    params: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    notes: str = "",
    project: str = "",
    seed: int | None = None,
    id: str = "",
    home: str | Path | None = None,
    url: str | None = None,
    token: str | None = None,
    system_metrics: bool = True,
    code: bool = True,
) -> Recording:
    """Begin a run, as in ``with treadle.run("churn") as run: run.log(step=1, loss=0.5)``.

    What is logged is on this disk at once and sent by a thread. An absent server changes nothing
    but that ``treadle sync`` is needed later.

    Args:
        experiment: The experiment's name; empty takes ``TREADLE_EXPERIMENT``.
        name: What to call the run; empty takes its id.
        params: Parameters; nested ones are joined by dots.
        tags: Tags.
        notes: What the run is about, in Markdown.
        project: The project that the run belongs to.
        seed: Seeds Python, and numpy and torch where they are loaded; None seeds nothing.
        id: The id of a run that has begun elsewhere, to join it; empty begins a new run.
        home: The home that the run goes to; None takes ``TREADLE_HOME``, else ``.treadle`` beside
            the nearest treadle.toml, else ``.treadle`` here.
        url: The server that the run goes to instead; None takes ``TREADLE_URL``.
        token: The token for the server; None takes ``TREADLE_TOKEN``.
        system_metrics: Whether the machine's load is logged.
        code: Whether what repeating the run needs is kept: source files, commit and changes,
            command, packages.

    Returns:
        The run to log to; it ends with its ``with`` block, or with ``finish``.

    Raises:
        Invalid: The id, a parameter or a tag cannot be one.
    """
    if os.environ.get("TREADLE_RERUN"):  # whatever the script says: beside the run that is repeated
        home = url = token = None
    folder = home_of(Path(home) if home else None)
    key = _address(home, url, token)
    if seed is not None:
        _plant(seed)
    return Recording(
        experiment or os.environ.get("TREADLE_EXPERIMENT", ""),
        spool=folder / "spool",
        open_store=lambda: _services(*key),
        id=id,
        project=project,
        name=name,
        params=params,
        tags=tags,
        notes=notes,
        seed=seed,
        machine=_machine() if system_metrics else None,
        code=code,
    )


def services_at(home: str | Path | None, url: str | None, token: str | None) -> "Services":
    """Return the services of a home or a server, opened once in this process.

    Args:
        home: The home; None takes ``TREADLE_HOME``, else ``.treadle`` here.
        url: The server instead; None takes ``TREADLE_URL``.
        token: The token for the server; None takes ``TREADLE_TOKEN``.

    Raises:
        TreadleError: The home cannot be opened.
    """
    return _services(*_address(home, url, token))


def sync(
    home: Path, store: Store, told: Callable[[Synced, int], None] = lambda *_: None
) -> Iterator[Synced]:
    """Send what the spool of a home still holds, run by run. Yields what became of each run.

    Runs that a living process records are left to it. A run whose process died is marked as killed.

    Args:
        home: The home's folder.
        store: The services that the runs go to.
        told: Called after each parcel with how far a run is, and how many of its points wait.
    """
    root = home / "spool"
    for name in spooled(root):
        if not is_sending(root, name):
            yield _sync(Uploader(root, name), store, told)


def recorded_now(home: Path) -> list[str]:
    """Return the runs of a home's spool that a living process records or sends.

    Args:
        home: The home's folder.
    """
    return [name for name in spooled(home / "spool") if is_sending(home / "spool", name)]


def _sync(uploader: Uploader, store: Store, told: Callable[[Synced, int], None]) -> Synced:
    def state() -> Synced:
        finished = uploader.finished
        return Synced(
            run=uploader.run, points=uploader.points, finished=finished, refused=uploader.refused
        )

    try:
        while uploader.send_next(store):
            told(state(), uploader.waiting)
        found = state()
        if found.finished and store.tracking.get(run=uploader.run).status == "running":
            store.tracking.change_run(run=uploader.run, status="killed")
        return found
    finally:
        uploader.close()


def _address(home: str | Path | None, url: str | None, token: str | None) -> tuple[str, str, str]:
    """The home, the URL and the token that are meant; the latter two may be empty."""
    folder = home_of(Path(home) if home else None)
    return (
        str(folder),
        url or os.environ.get("TREADLE_URL", ""),
        token or os.environ.get("TREADLE_TOKEN", ""),
    )


def _services(home: str, url: str, token: str) -> "Services":
    """The services of a home or a server, opened once in this process."""
    with _opening:
        if (home, url, token) not in _opened:
            # Here, since they take longer to load than a run to begin.
            from treadle.platform.remote import connect
            from treadle.platform.wiring import Embedded

            _opened[home, url, token] = (
                connect(url, token=token or None) if url else Embedded(settings_for(Path(home)))
            )
        return _opened[home, url, token]


def _machine() -> Machine:
    from treadle.backends.gauge.nvml import gauges

    return Machine(gauges())


def _plant(seed: int) -> None:
    """Seed what draws random numbers here."""
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


os.register_at_fork(after_in_child=_opened.clear)
