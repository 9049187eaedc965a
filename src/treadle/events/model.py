"""What is stored of an event, how it is decoded, and how the chain of hashes is made."""

import logging
from datetime import datetime
from typing import Any

from treadle.events.upcasters import upcast
from treadle.kernel.entity import Entity, from_plain, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.event import Event
from treadle.ports.blobs import digest_of

GENESIS = "0" * 64
"""The hash before the first entry."""

HASHED_FIELDS = (
    (
        *("number", "type", "subject", "project", "at", "actor", "cause", "depth"),
        *("body", "uses", "makes"),
    ),
    ("number", "type", "subject", "at", "actor", "cause", "depth", "body", "uses", "makes"),
)
"""The fields that a hash covers: today's first, then what earlier versions covered.

No two of these lists encode to the same bytes, so the one that fits an entry's hash says which
version wrote it: the hash is its own version marker. Entries of 0.1 do not cover ``project``, which
the migration worked out from what they do cover.
"""

log = logging.getLogger(__name__)


class EventRecord(Entity):
    """One entry of the log.

    ``project`` is None for what belongs to no project, ``depth`` counts the causes above the entry,
    and ``hash`` covers it and all entries before it.
    """

    number: int
    type: str
    subject: str
    at: datetime
    actor: str
    cause: int | None
    depth: int
    body: dict[str, Any]
    project: str | None = None
    uses: list[str] = []
    makes: list[str] = []
    hash: str = ""

    def event(self) -> Event | None:
        """Decode the typed event; bodies of earlier versions are brought up to date first.

        Returns:
            The event, or None when another version of Treadle wrote it: its type is not known here,
            or it has fields that are not known here, which is logged.

        Raises:
            Invalid: The body is no event of its type.
        """
        kind = Event.registry.get(self.type)
        if kind is None:
            return None
        body = upcast(self.type, self.body, self.project)
        newer = sorted(set(body) - set(kind.__struct_fields__))
        if newer and _fits({name: body[name] for name in body if name not in newer}, kind):
            log.warning(
                "event %d is of a newer Treadle: its type '%s' has no field '%s' here",
                self.number,
                self.type,
                "', '".join(newer),
            )
            return None
        return from_plain(body, kind)


class KeyRotated(Event):
    """Another key signs from this event on.

    Attributes:
        key: The id of the new key, which signs this event.
        before: The id of the key that it takes the place of.
        compromised: From when on signatures of a key are not believed, by the key's id.
    """

    key: str
    before: str
    compromised: dict[str, datetime]

    @property
    def subject(self) -> str:
        return f"key:{self.key}"

    @property
    def belongs_to(self) -> str | None:
        return None


class Chain(Entity):
    """The result of a check of the whole chain.

    ``broken_at`` is the first entry whose hash does not fit, or that is not there; ``cut_off``
    says that all after it are gone, and ``forged_head`` that the head's signature is not believed,
    for the reason that ``fault`` gives.
    """

    entries: int
    intact: bool
    broken_at: int | None = None
    cut_off: bool = False
    forged_head: bool = False
    fault: str = ""

    @property
    def failed(self) -> bool:
        """Whether the check has found damage; the command line then exits with 1."""
        return not self.intact


class Thread(Entity):
    """The chain of causes of one thing, newest first, and the lineage its events name.

    ``signatures`` are the events by which people answer for what the chain names: who signed, when,
    and with which comment.
    """

    subject: str
    events: list[EventRecord]
    signatures: list[EventRecord] = []


def chained(record: EventRecord, before: str, fields: tuple[str, ...] = HASHED_FIELDS[0]) -> str:
    """Compute the hash of an entry: BLAKE3 over the hash before it and the entry's own fields.

    Args:
        record: The entry; its own hash plays no part.
        before: The hash of the entry before it, ``GENESIS`` for the first.
        fields: The names of the fields that are covered; those that are covered today by default.
    """
    return digest_of(before.encode() + to_json([getattr(record, name) for name in fields]))


def is_chained(record: EventRecord, before: str) -> bool:
    """Tell whether an entry's hash fits, by the fields that any version has covered.

    Args:
        record: The entry with its stored hash.
        before: The hash of the entry before it, ``GENESIS`` for the first.
    """
    return any(chained(record, before, fields) == record.hash for fields in HASHED_FIELDS)


def _fits(body: dict[str, Any], kind: type[Event]) -> bool:
    """Whether a body is an event of a type."""
    try:
        from_plain(body, kind)
    except Invalid:
        return False
    return True
