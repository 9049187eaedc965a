"""The signed head of the event log: its newest entry, which shows that no tail was cut off."""

from functools import cache
from typing import Any, NamedTuple

from blake3 import blake3
from sqlalchemy import Connection, Dialect, Executable, Insert, Select, Update, bindparam, select

from treadle.events.model import GENESIS
from treadle.events.tables import event_heads, events
from treadle.kernel.entity import Entity
from treadle.kernel.keys import Keys

NEWEST = "newest"
"""The name of the only row."""
_CONTEXT = "treadle event log head"


class Head(Entity):
    """The newest entry of the log.

    Attributes:
        number: Its number; 0 where there is no entry.
        hash: Its hash, ``GENESIS`` where there is no entry.
        signature: The signature over both; empty where nobody has signed it yet.
    """

    number: int = 0
    hash: str = GENESIS
    signature: str = ""


def signed_head(number: int, hash: str, keys: Keys) -> Head:
    """Sign a head: a keyed BLAKE3 hash.

    Args:
        number: The number of the newest entry.
        hash: The hash of the newest entry.
        keys: The home's signing keys.
    """
    signature = keys.sign(lambda secret: _digest(number, hash, secret))
    return Head(number=number, hash=hash, signature=signature)


def head_fault(head: Head, keys: Keys) -> str:
    """Tell why a head's signature is not believed.

    Args:
        head: The head.
        keys: The home's signing keys.

    Returns:
        A sentence; empty where the signature is believed.
    """

    def digest_by(secret: bytes) -> str:
        return _digest(head.number, head.hash, secret)

    return keys.fault(head.signature, digest_by, event=head.number)


def read_head(connection: Connection) -> Head:
    """Read the stored head; that of the events themselves where none is stored.

    Args:
        connection: An open connection.
    """
    row = _run(connection, _READ, {"name": NEWEST}).one_or_none()
    return head_of_events(connection) if row is None else Head(**row._mapping)


def head_of_events(connection: Connection) -> Head:
    """The newest event, whatever the stored head says; nobody has signed it.

    Args:
        connection: An open connection.
    """
    newest = select(events.c.number, events.c.hash).order_by(events.c.number.desc()).limit(1)
    row = connection.execute(newest).one_or_none()
    return Head() if row is None else Head(number=row.number, hash=row.hash)


def write_head(transaction: Connection, head: Head) -> None:
    """Store the head, in the transaction of its event.

    Args:
        transaction: The write transaction.
        head: The head.
    """
    values = {"name": NEWEST, **{name: getattr(head, name) for name in Head.__struct_fields__}}
    if not _run(transaction, _MOVE, values).rowcount:
        _run(transaction, _ADD, values)


def _digest(number: int, hash: str, secret: bytes) -> str:
    return blake3(f"{number} {hash}".encode(), key=_own_key(secret)).hexdigest()


@cache
def _own_key(key: bytes) -> bytes:
    """The key of this use alone, so that no other signature of the home can pass as a head's."""
    return blake3(key, derive_key_context=_CONTEXT).digest()


class _Compiled(NamedTuple):
    text: str
    positions: tuple[str, ...] | None


_READ: Select[Any] = select(
    event_heads.c.number, event_heads.c.hash, event_heads.c.signature
).where(event_heads.c.name == bindparam("name"))
_MOVE: Update = (
    event_heads.update()
    .where(event_heads.c.name == bindparam("name_"))
    .values(number=bindparam("number"), hash=bindparam("hash"), signature=bindparam("signature"))
)
_ADD: Insert = event_heads.insert()


@cache
def _compiled(statement: Any, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect)
    positions = compiled.positiontup
    return _Compiled(str(compiled), None if positions is None else tuple(positions))


def _run(connection: Connection, statement: Executable, values: dict[str, Any]) -> Any:
    """Run a statement as text: each append runs two, and making them costs more than they do."""
    text, positions = _compiled(statement, connection.dialect)
    given = {**values, "name_": values["name"]}
    return connection.exec_driver_sql(
        text, given if positions is None else tuple(given[name] for name in positions)
    )
