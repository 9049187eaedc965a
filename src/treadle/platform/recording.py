"""``treadle.run``: a run to log to, in a home or on a server; and sending what its spool still holds."""

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
    """Begin a run: ``with treadle.run("churn", params={"lr": 0.1}) as run: run.log(step=1, loss=0.5)``.

    It goes to the server at ``url`` (or ``TREADLE_URL``), else to ``home`` (or ``TREADLE_HOME``, or ``.treadle`` beside the nearest
    treadle.toml, or here). What is logged is on this disk at once and sent by a thread; an absent server changes nothing
    but that ``treadle sync`` is needed later. ``seed`` seeds Python, and numpy and torch where they are loaded. With ``code``, what
    repeating the run needs is kept: source files, commit and changes, command, packages. ``id`` joins a run that has begun elsewhere.
    """
    if os.environ.get("TREADLE_RERUN"):  # whatever the script says: beside the run that is repeated
        home = url = token = None
    folder = home_of(Path(home) if home else None)
    where = url or os.environ.get("TREADLE_URL", "")
    key = (str(folder), where, token or os.environ.get("TREADLE_TOKEN", ""))
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


def sync(
    home: Path, store: Store, told: Callable[[Synced, int], None] = lambda *_: None
) -> Iterator[Synced]:
    """Send what the spool of a home still holds, run by run; runs that a living process records are left to it.

    ``told`` hears, after each parcel, how far a run is and how many points wait. A run whose process died without a word was killed.
    """
    root = home / "spool"
    for name in spooled(root):
        if not is_sending(root, name):
            yield _sync(Uploader(root, name), store, told)


def recorded_now(home: Path) -> list[str]:
    """Runs of a home's spool that a living process records or sends."""
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


def _services(home: str, url: str, token: str) -> "Services":
    """The services of a home or a server, opened once in this process."""
    with _opening:
        if (home, url, token) not in _opened:
            from treadle.platform.remote import (
                connect,
            )  # here, since they take longer to load than a run to begin
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
