"""Checks records: the engine's own storage, every row, every entity, the chain of events."""

from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Table, inspect, select

from treadle.events.head import Head
from treadle.kernel.errors import TreadleError
from treadle.kernel.keys import Keys
from treadle.platform.seal import HEAD, read_noted
from treadle.platform.stages import stages, tables_of
from treadle.platform.verify.findings import RESTORE, Collected
from treadle.platform.wiring import Embedded
from treadle.ports.damage import UNSOUND, SelfChecking
from treadle.ports.database import Database

EVERYTHING = 1_000_000
ROWS = 1_000
_BREAKS = (
    "Everything since cannot be trusted. Compare it with a backup, and restore that if need be."
)


_OLDER = (
    "Restore the newest backup. If you have put an older database there yourself, move "
    f"'{HEAD}' away."
)


def check_pages(database: Database, found: Collected) -> None:
    """Let the engine check its own storage.

    Args:
        database: The database.
        found: Takes what is damaged.
    """
    found.progress("database", 0, 1)
    if not isinstance(database, SelfChecking):
        found.note("This database has no check of its own storage.")
        return
    for fault in database.check():
        found.find("the database", fault)
    found.count("databases")


def check_rows(database: Database, found: Collected) -> None:
    """Read every row of every table.

    Args:
        database: The database.
        found: Takes tables that cannot be read.
    """
    with database.read() as connection:
        there = set(inspect(connection).get_table_names())
    declared = tables_of(stages())
    tables = [table for table in declared if table.name in there]
    for missing in [table.name for table in declared if table.name not in there]:
        found.find(f"table {missing}", "It is missing.")
    for done, table in enumerate(tables):
        found.progress(f"table {table.name}", done, len(tables))
        try:
            found.count("rows", _read(database, table))
        except Exception as error:  # the driver's, a codec's, a type's
            found.find(f"table {table.name}", f"It cannot be read: {error}")


def check_entities(platform: Embedded, found: Collected) -> None:
    """Build what the rows say, as any answer would.

    Args:
        platform: The home.
        found: Takes what cannot be built.
    """
    for what, read in _readers(platform):
        found.progress(what, 0, 0)
        try:
            found.count(what, len(read()))
        except Exception as error:
            found.find(what, f"They cannot be read: {error}")
    for answer in platform.assembly.answers(UNSOUND):
        try:
            for unsound in answer.method():
                found.find(unsound.thing, unsound.wrong, affects=[unsound.thing])
        except Exception as error:
            found.find(answer.method.__qualname__, f"It cannot be read: {error}")
    _check_approvals(platform, found)


def check_events(platform: Embedded, keys: Keys, found: Collected) -> None:
    """Check the chain of events, its signed head, and the home's copy of the head.

    Args:
        platform: The home.
        keys: The home's signing keys.
        found: Takes what is damaged.
    """
    found.progress("events", 0, 0)
    # The copy is read first: it may be behind the database, and never ahead of it.
    noted = _noted(platform, keys, found)
    try:
        chain = platform.events.verify()
    except Exception as error:
        found.find("the event log", f"It cannot be read: {error}")
        return
    found.count("events", chain.entries)
    if chain.cut_off:
        found.find(
            "the event log", f"Its events from {chain.broken_at} on were cut off.", remedy=_BREAKS
        )
    elif chain.forged_head:
        found.find("the event log", f"Its head is not believed. {chain.fault}", remedy=_BREAKS)
    elif not chain.intact:
        found.find(f"event {chain.broken_at}", "It is not what was written.", remedy=_BREAKS)
    elif noted is not None:
        _compare(platform, noted, chain.entries, found)
    _decode_events(platform, found)


def _noted(platform: Embedded, keys: Keys, found: Collected) -> Head | None:
    home = platform.settings.folder
    try:
        noted = read_noted(home, keys)
    except (TreadleError, OSError) as error:
        remedy = "If all else is well: treadle verify --repair writes it anew."
        found.find(HEAD, error, remedy=remedy)
        return None
    if noted is None:
        found.note(f"There is no '{HEAD}' yet: an older copy of the database would not be seen.")
    return noted


def _compare(platform: Embedded, noted: Head, entries: int, found: Collected) -> None:
    """Compare the home's copy of the head with the chain."""
    if noted.number > entries:
        found.find(
            "the database",
            f"It ends with event {entries}, and this home has known event {noted.number}: its tail "
            "was cut off, or it is an older copy.",
            remedy=_OLDER,
        )
    elif noted.number:
        here = platform.events.history(after=noted.number - 1, limit=1)
        if here[0].hash != noted.hash:
            found.find(
                f"event {noted.number}",
                "It is another event than this home has known under the number.",
                remedy=_OLDER,
            )


def _decode_events(platform: Embedded, found: Collected) -> None:
    number = 0
    try:
        while page := platform.events.history(after=number, limit=ROWS):
            for record in page:
                number = record.number
                record.event()
    except Exception as error:
        found.find(f"event {number + 1} or one near it", f"It cannot be read: {error}")


def _read(database: Database, table: Table) -> int:
    count = 0
    with database.read() as connection:
        rows = connection.execution_options(yield_per=ROWS).execute(select(table))
        for _ in rows:
            count += 1
    return count


def _readers(platform: Embedded) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    yield "projects", platform.scope.projects
    yield "experiments", platform.tracking.experiments
    yield "pipelines", lambda: platform.pipelines.find(limit=EVERYTHING)
    yield "trainings", lambda: platform.training.find(limit=EVERYTHING)
    yield "verdicts", lambda: platform.evaluation.find(limit=EVERYTHING)
    yield "versions", lambda: platform.registry.find(limit=EVERYTHING)
    yield "models", platform.registry.models
    yield "endpoints", platform.delivery.endpoints
    yield "rollouts", lambda: platform.delivery.rollouts(limit=EVERYTHING)
    yield "jobs", lambda: platform.jobs.find(limit=EVERYTHING)
    yield "webhooks", platform.webhooks.every
    yield "views", platform.views.find
    yield "users", platform.access.users
    yield "tokens", platform.access.list_tokens
    yield "decisions", lambda: platform.loop.decisions(limit=EVERYTHING)
    yield (
        "windows",
        lambda: [
            window
            for endpoint in platform.delivery.endpoints()
            for window in platform.monitoring.windows(endpoint=endpoint.name, limit=EVERYTHING)
        ],
    )
    yield (
        "datasets",
        lambda: [
            version
            for project in platform.scope.projects()
            for version in platform.data.versions(project=project.name)
        ],
    )


def _check_approvals(platform: Embedded, found: Collected) -> None:
    try:
        approved = [v for v in platform.registry.find(limit=EVERYTHING) if v.approval]
        for version in approved:
            found.count("approvals")
            if fault := platform.registry.approval_fault(version):
                found.find(
                    f"the approval of '{version.ref}'",
                    fault,
                    affects=[f"version '{version.ref}'"],
                    remedy=f"If the version is as it should be: treadle approve {version.ref} "
                    f"signs it again. Else: {RESTORE}",
                )
    except Exception as error:
        found.find("approvals", f"They cannot be read: {error}")
