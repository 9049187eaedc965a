"""Examines a home: what it needs, whether that is there, and what to do where it is not.

Nothing is migrated or mended, nothing is written but a blob that is removed again, and nobody is
asked but the home's own backends.
"""

import os
import platform
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import func, select

from treadle.kernel.entity import Entity, replace
from treadle.kernel.errors import TreadleError
from treadle.kernel.escaping import shell
from treadle.kernel.exits import CALM, exits_of
from treadle.kernel.process import holder, is_held
from treadle.platform.addresses import backend, declared_addresses, resolved, sqlite_file
from treadle.platform.host import KEPT
from treadle.platform.metrics import worker_silence
from treadle.platform.readiness import schema_fault
from treadle.platform.seal import follows
from treadle.platform.settings import Settings, remembered_settings
from treadle.platform.signing import KEY
from treadle.platform.watchdog import silence_seconds
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import check_place
from treadle.ports.database import Database, Versioned

SKEW_SECONDS, WAITING_SECONDS = 2.0, 600.0
"""What is too much: a clock's difference, a due job's wait."""
LITTLE, TOO_LITTLE = 0.1, 0.02
"""Shares of the disk below which free space is told, and below which it is broken."""
DYING = 3
"""So many ends of a replica in a row are broken."""


class Check(Entity):
    """What was found of one thing that a home needs.

    Attributes:
        name: The thing.
        state: ``note`` is worth knowing and keeps nothing from working.
        says: What was found, in a sentence.
        todo: What to do; empty where there is nothing to do.
    """

    name: str
    state: Literal["ok", "note", "broken"]
    says: str
    todo: str = ""


def examine(home: Path, *, port: int, extras: list[str]) -> list[Check]:
    """Check everything that a home needs.

    Args:
        home: The home's folder.
        port: The port that its server should have.
        extras: The extras of Treadle that are installed.
    """
    told = f"Treadle {version('treadle')}, Python {platform.python_version()}"
    checks = [
        _ok("versions", f"{told}, {platform.platform()}."),
        _ok("extras", f"Installed: {', '.join(extras) or 'none'}."),
    ]
    if not home.is_dir():
        todo = "Make one with 'treadle up' or 'treadle run', or name another with --home."
        return [*checks, _broken("home", f"There is no home at '{home}'.", todo)]
    try:
        settings = replace(remembered_settings(home), **declared_addresses())
    except TreadleError as error:
        return [*checks, _broken("settings", error.message, "Correct or remove settings.json.")]
    checks += [_permissions(home), _key(home), _disk(home)]
    database = _guarded("database", lambda: _database(settings))
    blobs = _guarded("blobs", lambda: _blobs(settings))
    checks += [*database, *blobs, *_processes(home), _port(home, port)]
    if all(check.state != "broken" for check in [*database, *blobs]):
        checks += _guarded("records", lambda: _records(settings))
    return checks


def _guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    """What a look finds; its failure is a finding too."""
    try:
        return look()
    except TreadleError as error:
        return [_broken(name, error.message, "See that it runs, then run this again.")]
    except Exception as error:
        told = f"It cannot be checked: {type(error).__name__}: {str(error).strip()[:300]}"
        return [_broken(name, told, "This is a defect unless the home was changed by hand.")]


def _permissions(home: Path) -> Check:
    status = home.stat()
    if status.st_uid == os.geteuid() and status.st_mode & 0o007 and not status.st_mode & 0o1000:
        mode = f"{stat.S_IMODE(status.st_mode):o}"
        todo = f"Close it: {shell('chmod', 'o-rwx', home)}"
        return _broken("home", f"'{home}' is open to every user of the machine ({mode}).", todo)
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        todo = "Run this as the user that 'treadle up' runs as, or give that user the folder."
        return _broken("home", f"This user may not read and write '{home}'.", todo)
    return _ok("home", f"'{home}' is this user's to write, and closed to others.")


def _key(home: Path) -> Check:
    key = home / KEY
    if not key.exists():
        return _note("keys", "There is no signing key yet.", "The first command makes one.")
    if key.stat().st_mode & 0o077:
        todo = f"Close it, and think of a new key: {shell('chmod', '600', key)}"
        return _broken("keys", f"Other users may read '{key}', which signs approvals.", todo)
    return _ok("keys", f"'{key.name}' is readable by its owner only.")


def _disk(home: Path) -> Check:
    usage = shutil.disk_usage(home)
    share = usage.free / max(usage.used + usage.free, 1)
    says = f"{usage.free / 1e9:.1f} GB are free, {share:.0%} of the disk."
    todo = "Make room: 'treadle data gc' removes what nothing names."
    if share < TOO_LITTLE:
        return _broken("disk", says, todo)
    return _note("disk", says, todo) if share < LITTLE else _ok("disk", says)


def _database(settings: Settings) -> list[Check]:
    if not _has_database(settings):
        return [_note("database", "There is no database yet.", "'treadle up' makes it.")]
    database: Database = backend("database", settings.address("database"))
    try:
        began = time.perf_counter()
        with database.read() as connection:
            told = connection.scalar(select(func.current_timestamp()))
        millis = (time.perf_counter() - began) * 1000
        checks = [_ok("database", f"It answers, after {millis:.0f} ms."), _clock(told)]
        if isinstance(database, Versioned):
            fault = schema_fault(database)
            schema = database.schema()
            wrong = _broken("schema", fault, "") if fault else None
            checks.append(wrong or _ok("schema", f"It is {schema.stored}, as this code wants."))
        return checks
    finally:
        database.close()


def _has_database(settings: Settings) -> bool:
    url = resolved(settings.address("database"))
    return not url.startswith("sqlite:") or sqlite_file(url).exists()


def _clock(told: Any) -> Check:
    """Compare this machine's clock with the database's, whose transaction has just begun."""
    there = told if isinstance(told, datetime) else datetime.fromisoformat(str(told))
    there = there if there.tzinfo else there.replace(tzinfo=UTC)
    seconds = abs((datetime.now(UTC) - there).total_seconds())
    if seconds > SKEW_SECONDS + (not there.microsecond):  # SQLite tells whole seconds
        todo = "Let both machines follow NTP: leases of jobs are told by the clock."
        return _broken("clock", f"It differs from the database's by {seconds:.1f} s.", todo)
    return _ok("clock", "It agrees with the database's.")


def _blobs(settings: Settings) -> list[Check]:
    if not (settings.blobs or _has_database(settings)):
        return [_note("blobs", "There is no blob store yet.", "'treadle up' makes it.")]
    blobs = backend("blobs", settings.address("blobs"))
    check_place(blobs)
    content = b"written by treadle doctor " + secrets.token_hex(16).encode()
    began = time.perf_counter()
    digest = blobs.put(content)
    try:
        if blobs.get(digest) != content:
            return [_broken("blobs", "What was written is read back changed.", "Check the store.")]
    finally:
        blobs.delete(digest)
    millis = (time.perf_counter() - began) * 1000
    return [_ok("blobs", f"A small blob was written, read back and removed in {millis:.0f} ms.")]


def _processes(home: Path) -> Iterator[Check]:
    run = home / "run"
    pids = {name: holder(run / f"{name}.lock") for name in KEPT}
    if not any(pids.values()):
        todo = f"Start it: {shell('treadle', 'up', '--home', home)}"
        yield _note("processes", "Nothing runs on this home.", todo)
        return
    missing = [name for name, pid in pids.items() if pid is None]
    running = ", ".join(f"{name} (pid {pid})" for name, pid in pids.items() if pid)
    silence = worker_silence(run)
    todo = f"Read '{home / 'logs'}'; a supervisor starts what died, 'treadle up' a supervisor."
    if missing:
        yield _broken("processes", f"There is no {' and no '.join(missing)}; {running} runs.", todo)
    elif silence is not None and silence > silence_seconds():
        yield _broken("processes", f"The worker has begun no turn for {silence:.0f} s.", todo)
    else:
        yield _ok("processes", f"{running} run.")
    for name in pids:
        seen = exits_of(run / f"{name}.lock")
        if seen and datetime.now(UTC) - seen.at < CALM:
            times = "once" if seen.in_a_row == 1 else f"{seen.in_a_row} times"
            says = f"The {name} died {times} lately; it {seen.cause}."
            state = _broken if seen.in_a_row >= DYING else _note
            yield state("processes", says, todo)


def _port(home: Path, port: int) -> Check:
    name = f"port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if is_held(home / "run" / "server.lock"):
                return _ok(name, "Something listens, and this home's server runs.")
            todo = "Stop that program, or choose another --port."
            return _note(name, f"Another program has it ({error.strerror}).", todo)
    return _ok(name, "It is free.")


def _records(settings: Settings) -> list[Check]:
    if not _has_database(settings):
        return []
    with Embedded(settings) as opened:
        return [_head(opened), *_jobs(opened), *_endpoints(opened)]


def _head(opened: Embedded) -> Check:
    head = opened.events.head()
    if follows(opened.events, opened.settings.folder):
        return _ok("event log", f"{head.number} events; the log is the one that this home knows.")
    todo = f"Find out what happened: {shell('treadle', 'verify', '--home', opened.settings.home)}"
    return _broken("event log", "It is not the one that this home has known.", todo)


def _jobs(opened: Embedded) -> Iterator[Check]:
    since = opened.clock.now() - timedelta(days=1)
    failed = [
        job
        for state in ("failed", "set aside")
        for job in opened.jobs.find(state=state)
        if job.ended_at and job.ended_at > since
    ]
    if failed:
        says = f"{len(failed)} failed within a day, such as {failed[0].id}: {failed[0].error}"
        yield _note("jobs", says[:400], f"Read its log: treadle logs {failed[0].id}")
    waiting = opened.jobs.queue().waiting_seconds or 0.0
    if waiting > WAITING_SECONDS:
        todo = "See that a worker runs, and what it is busy with: treadle jobs queue"
        yield _broken("jobs", f"The oldest that is due has waited for {waiting:.0f} s.", todo)
    elif not failed:
        yield _ok("jobs", "None has failed within a day, and none waits for long.")


def _endpoints(opened: Embedded) -> Iterator[Check]:
    runs = is_held(opened.settings.folder / "run" / "supervisor.lock")
    for endpoint in opened.delivery.endpoints():
        name = f"endpoint {endpoint.name}"
        todo = f"Read {opened.settings.folder / 'endpoints' / endpoint.name}/replica-*.log."
        now = datetime.now(UTC)
        dying = [exits for exits in endpoint.exits if now - exits.at < CALM]
        if endpoint.fault:
            yield _broken(name, endpoint.fault, todo)
        elif any(exits.in_a_row >= DYING for exits in dying):
            yield _broken(name, "; ".join(exits.says for exits in dying), todo)
        elif endpoint.ready or endpoint.champion is None:
            yield _ok(name, "It serves what is wanted." if endpoint.ready else "None is live yet.")
        elif runs:
            yield _broken(name, "It does not serve what is wanted.", todo)
        else:
            yield _note(name, "It does not answer, since nothing runs.", "Start 'treadle up'.")


def _ok(name: str, says: str) -> Check:
    return Check(name=name, state="ok", says=says)


def _note(name: str, says: str, todo: str) -> Check:
    return Check(name=name, state="note", says=says, todo=todo)


def _broken(name: str, says: str, todo: str) -> Check:
    return Check(name=name, state="broken", says=says, todo=todo)
