"""Keeps a home with its database and its blobs: none is opened over others without being moved."""

from pathlib import Path

from treadle.kernel.entity import from_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.escaping import shell
from treadle.kernel.files import write_whole
from treadle.kernel.plugins import factory_of
from treadle.platform.addresses import VARIABLES, place_of, resolved, sqlite_file

_HOLDING = ("events", "projects", "runs")
"""Tables of which a row says that a home holds something."""
UNKNOWN = -1


def refuse_other_places(
    home: Path, *, before: dict[str, str], after: dict[str, str], known: str, given: dict[str, str]
) -> None:
    """Check that a home that holds records is opened over the places that it has known.

    Args:
        home: The home's folder.
        before: The places that it has known, by port.
        after: The places over which it is opened.
        known: The address of its database, as the home remembers it.
        given: The addresses over which it is opened, by port.

    Raises:
        Conflict: It holds records, and one of the places is another.
    """
    moved = [port for port in after if after[port] != before[port]]
    if not moved:
        return
    events = events_in(home, known, before["database"])
    if not events:
        return
    port = moved[0]
    options = [word for one in moved for word in (f"--to-{one}", given[one])]
    held = f"{events:,} events" if events > 0 else "records"
    raise Conflict(
        f"The home '{home}' holds {held}: its {port} is {before[port]}, and {after[port]} is "
        f"given, where they are not. Move the home: "
        f"{shell('treadle', 'move', '--home', home, *options)}. Or go on as before: leave the "
        f"option out, and {VARIABLES[port]} too."
    )


def events_in(home: Path, database: str, place: str) -> int:
    """Return how many events a home holds.

    Args:
        home: The home's folder.
        database: The address of its database, as the home remembers it.
        place: Where its database is.

    Returns:
        The number of the newest event; ``UNKNOWN`` where there are records but no event, or where
        nobody can tell since the address leads elsewhere by now.
    """
    from treadle.events.head import Head  # loads the database's library
    from treadle.platform.seal import HEAD
    from treadle.platform.signing import KEY

    file = home / HEAD
    noted = from_json(file.read_bytes(), Head).number if file.exists() else None
    if noted:
        return noted
    if place.startswith("sqlite:"):
        return _newest_event(place)
    try:
        reachable = place_of(database) == place
    except Invalid:
        reachable = False
    if reachable:
        return _newest_event(resolved(database))
    was_empty = noted == 0 or not (home / KEY).exists()  # when it was closed, or never opened
    return 0 if was_empty else UNKNOWN


def _newest_event(url: str) -> int:
    from sqlalchemy import column, func, inspect, select, table

    if url.startswith("sqlite") and not sqlite_file(url).exists():
        return 0
    database = factory_of("database", url)(url)
    try:
        with database.read() as connection:
            there = set(inspect(connection).get_table_names())
            if "events" in there:
                number = connection.scalar(
                    select(func.max(column("number"))).select_from(table("events"))
                )
                if number:
                    return int(number)
            held = (select(1).select_from(table(name)).limit(1) for name in there & {*_HOLDING})
            return UNKNOWN if any(connection.scalar(one) for one in held) else 0
    finally:
        database.close()


def claim_file(home: Path, place: str) -> None:
    """Note beside an SQLite file which home's it is, unless it lies in the home.

    Args:
        home: The home's folder.
        place: Where the home's database is.

    Raises:
        Conflict: The file is the database of another home.
    """
    if not place.startswith("sqlite:"):
        return
    file = sqlite_file(place)
    if file == home / "treadle.db":
        return
    note = file.with_name(f"{file.name}.home")
    if file.name == "treadle.db" and (file.parent / "settings.json").exists():
        owner: Path | None = file.parent
    else:
        owner = Path(note.read_text(encoding="utf-8")) if note.exists() else None
        if owner is not None and not (owner / "settings.json").exists():
            owner = None  # it was removed, or has another name now
    if owner is not None and owner != home:
        raise Conflict(
            f"'{file}' is the database of the home '{owner}', and SQLite serves one home. Work on "
            f"that home (--home {shell(owner)}), or let both use one PostgreSQL."
        )
    if owner is None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(note, str(home).encode())
