"""Puts another signing key in the place of a home's, and tells the event log of it.

Both happen while the database's only write transaction is held: every event and every approval is
signed in one, so nothing is signed with the old key afterwards, whatever runs on the home.
"""

import secrets
from datetime import datetime
from pathlib import Path

from treadle.events.head import read_head
from treadle.events.local import LocalEvents
from treadle.events.model import KeyRotated
from treadle.kernel.clock import Clock
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid
from treadle.kernel.keys import KEY_BYTES, Key, Keys, key_of
from treadle.platform.seal import sign_seal_again
from treadle.platform.signing import read_keys, write_keys
from treadle.ports.database import Database


class Rotated(Entity):
    """A rotation of a home's signing key.

    Attributes:
        key: The id of the key that signs from now on.
        before: The id of the key that it takes the place of.
        event: The number of the event that tells of it.
    """

    key: str
    before: str
    event: int


def rotate_key(
    home: Path,
    database: Database,
    events: LocalEvents,
    clock: Clock,
    *,
    since: datetime | None = None,
    compromised: str = "",
) -> Rotated:
    """Make a new signing key. The old ones stay to verify with, and never sign again.

    Other processes may work on the home meanwhile: they sign with the new key from then on.

    Args:
        home: The home's folder.
        database: The home's database.
        events: The home's event log, which signs with the keys of the home's file.
        clock: The home's clock.
        since: From when on signatures of a key are not believed; None where all are.
        compromised: The id of that key; empty for the one that is replaced.

    Returns:
        What was done.

    Raises:
        Invalid: The moment is still to come, or a key is named without a moment.
        NotFound: The home has no such key.
        Corrupt: The file with the keys is damaged.
    """
    if compromised and since is None:
        raise Invalid(f"Say from when on key '{compromised}' is compromised: --compromised MOMENT.")
    with database.write() as transaction:
        before, at = read_keys(home), clock.now()
        keys, number = before, read_head(transaction).number + 1
        if since is not None:
            if since > at:
                raise Invalid(
                    f"{since:%Y-%m-%d %H:%M} is still to come: it is {at:%Y-%m-%d %H:%M}."
                )
            first = events.first_since(transaction, since)
            keys = keys.distrusting(compromised or keys.current.id, since=since, event=first)
        keys = keys.rotated(_new_key(keys, at), event=number, at=at)
        write_keys(home, keys)
        events.append(transaction, _event(keys))
    sign_seal_again(home, before, keys)
    return Rotated(key=keys.current.id, before=before.current.id, event=number)


def tell_of_rotation(database: Database, events: LocalEvents, keys: Keys) -> None:
    """Write the event of the last rotation, where its process was stopped before it had.

    Args:
        database: The home's database.
        events: The home's event log.
        keys: The home's keys.
    """
    if len(keys.keys) == 1 or _is_told(events, keys):
        return
    with database.write() as transaction:
        if not _is_told(events, keys):  # another process was first
            events.append(transaction, _event(keys))


def _is_told(events: LocalEvents, keys: Keys) -> bool:
    return bool(events.history(subject=_event(keys).subject, type=KeyRotated.__name__, limit=1))


def _event(keys: Keys) -> KeyRotated:
    marked = {key.id: key.compromised_since for key in keys.keys if key.compromised_since}
    return KeyRotated(key=keys.current.id, before=keys.keys[-2].id, compromised=marked)


def _new_key(keys: Keys, at: datetime) -> Key:
    """A key with an id that no other key of the home has."""
    while True:
        key = key_of(secrets.token_bytes(KEY_BYTES), made_at=at)
        if key.id not in {one.id for one in keys.keys}:
            return key
