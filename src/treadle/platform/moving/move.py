"""Moves a home to another database and another blob store, or leaves it as it was.

Contents are copied first, while everything runs. Then the home's server and worker wait, the rest
of the contents and all tables are copied and compared, and only when the new places hold all of it
are the settings switched, in one step. What runs models goes on throughout.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from treadle.events.local import LocalEvents
from treadle.kernel import process
from treadle.kernel.clock import SystemClock
from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import Conflict, Corrupt, NotFound
from treadle.platform.addresses import (
    VARIABLES,
    backend,
    declared_addresses,
    for_settings,
    place_of,
    shown,
    without_password,
)
from treadle.platform.moving.contents import CopiedContents, copy_contents, refuse_others
from treadle.platform.moving.records import closed, copy_tables, note_copy, note_home, prepare
from treadle.platform.occupancy import alone
from treadle.platform.places import claim_file
from treadle.platform.settings import PLACED, Settings, default_url, remember, remembered_settings
from treadle.platform.signing import KEY, read_keys
from treadle.platform.verify.findings import Progress
from treadle.ports.blobs import Blobs, make_place
from treadle.ports.database import Database

HOME = "home"
"""In the place of an address: the embedded backend inside the home."""
PATIENCE_SECONDS = 60.0


class Moved(Entity):
    """A home that was moved.

    Attributes:
        home: Its folder.
        database: Where its records are now, without passwords.
        blobs: Where its contents are now, without passwords.
        event: The number of its newest event.
        rows: How many rows of records were moved.
        contents: How many contents it has, where they were moved.
        copied: How many of them were not there yet.
        bytes: The size of those.
        left: The old places, which hold what the home held when it was moved.
        variables: Environment variables that still name an old place.
    """

    home: str
    database: str
    blobs: str
    event: int
    rows: int
    contents: int
    copied: int
    bytes: int
    left: list[str]
    variables: list[str]


def move_home(
    home: Path, to: dict[str, str], known: dict[str, str], progress: Progress = lambda *_: None
) -> Moved:
    """Move a home to another database, another blob store, or both.

    Args:
        home: The home's folder.
        to: The new addresses by port; ``home`` stands for the embedded backend.
        known: Addresses of the old places, where those that the home remembers lead there no more.
        progress: Called with what is copied, how many are done and how many there are.

    Returns:
        What was moved.

    Raises:
        NotFound: There is no home, or one that was never opened.
        Conflict: The home is there already, others work on it, or a new place holds other things.
        Corrupt: Something is damaged.
        Invalid: An address is none.
    """
    if not home.is_dir():
        raise NotFound(f"There is no home at '{home}'. Name one with --home.")
    if not (home / KEY).exists():
        raise NotFound(
            f"The home '{home}' was never opened and holds nothing to move: name its places when "
            "you start it."
        )
    lock = process.hold(home / "run" / "move.lock", what=f"The move of '{home}'")
    try:
        return _move(home, to, known, progress)
    finally:
        process.release(lock)


def _move(home: Path, to: dict[str, str], known: dict[str, str], progress: Progress) -> Moved:
    old = {port: for_settings(port, address) for port, address in known.items() if address}
    before = _reachable(remembered_settings(home), old)
    after = _settings_after(before, to)
    ports = [port for port in PLACED if after.place(port) != before.place(port)]
    if not ports:
        raise Conflict(f"The home '{home}' is there already.")
    if "database" in ports:
        claim_file(home, after.place("database"))
    with ExitStack() as stack:
        contents = _Contents(before, after, progress) if "blobs" in ports else None
        if contents:
            contents.copy()
        source: Database = stack.enter_context(_opened(before))
        note_home(source)  # a move that was killed may have left it marked as a copy
        if "database" in ports:
            target: Database = stack.enter_context(_opened(after))
            source.migrate()
            prepare(target, source, _name(home))
        stack.enter_context(alone(home, patience_seconds=PATIENCE_SECONDS))
        copied = contents.copy() if contents else CopiedContents(contents=0, copied=0, bytes=0)
        rows, event = 0, _checked(source, home)
        if "database" in ports:
            with source.write() as transaction:
                note_copy(transaction, _name(home))  # both are copies until the settings tell
            live = source
            try:
                with source.write() as transaction:  # nobody else writes, on other machines either
                    rows = copy_tables(transaction, target, progress)
                    if _checked(target, home) != event:
                        raise Conflict(
                            "Somebody wrote meanwhile. The home is as before; try again."
                        )
                    remember(after)
                    live = target
            finally:
                note_home(live)
        else:
            remember(after)
    declared = declared_addresses()
    return Moved(
        home=str(home),
        database=shown(after.address("database")),
        blobs=shown(after.address("blobs")),
        event=event,
        rows=rows,
        contents=copied.contents,
        copied=contents.copied if contents else 0,
        bytes=contents.bytes if contents else 0,
        left=[before.place(port) for port in ports],
        variables=[
            VARIABLES[port]
            for port in ports
            if port in declared and place_of(declared[port]) != after.place(port)
        ],
    )


class _Contents:
    """The contents of a home on their way; copied again, only what is new is copied."""

    def __init__(self, before: Settings, after: Settings, progress: Progress) -> None:
        self._source: Blobs = backend("blobs", before.address("blobs"))
        self._target: Blobs = backend("blobs", after.address("blobs"))
        make_place(self._target)
        self._home, self._progress = before.folder, progress
        self.copied = self.bytes = 0
        if after.blobs:  # the home's own folder is its own whatever it holds
            refuse_others(self._source, self._target)

    def copy(self) -> CopiedContents:
        """Copy what is not there yet."""
        made = copy_contents(self._source, self._target, self._home, self._progress)
        self.copied += made.copied
        self.bytes += made.bytes
        return made


def _reachable(settings: Settings, known: dict[str, str]) -> Settings:
    """The settings of before, with addresses that lead to the places where the home is."""
    there = replace(settings, **known)
    for port in PLACED:
        if place_of(there.address(port)) != settings.place(port):
            raise Conflict(
                f"The home's {port} is {settings.place(port)}, and its address "
                f"{without_password(there.address(port))} leads to "
                f"{place_of(there.address(port))}. Say how the old place is reached: "
                f"--from-{port} URL"
            )
    return there


def _settings_after(before: Settings, to: dict[str, str]) -> Settings:
    addresses = {
        port: "" if address == HOME else for_settings(port, address)
        for port, address in to.items()
        if address
    }
    after = replace(before, **addresses)
    own = {port: default_url(port, before.folder) for port in PLACED}
    inside = {port: "" for port in PLACED if place_of(after.address(port)) == place_of(own[port])}
    after = replace(after, **inside)
    places = {port: place_of(after.address(port)) for port in PLACED if getattr(after, port)}
    return replace(after, places=places)


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    database: Database = backend("database", settings.address("database"))
    try:
        yield database
    finally:
        closed(database)


def _name(home: Path) -> str:
    """What names a home in a database that holds a copy of it: its first key and its folder."""
    return f"{read_keys(home).keys[0].id} {home}"


def _checked(database: Database, home: Path) -> int:
    """The number of the newest event, once the chain of events was checked."""
    chain = LocalEvents(database, SystemClock(), lambda: read_keys(home)).verify()
    if not chain.intact:
        raise Corrupt(
            f"The event log in {database.url} is broken{_where(chain.broken_at)} {chain.fault} "
            "The home is as before; see: treadle verify"
        )
    return chain.entries


def _where(event: int | None) -> str:
    return f" at event {event}." if event else "."
