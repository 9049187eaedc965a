"""What is stored of an event, and how the chain of hashes is made."""

from datetime import datetime
from typing import Any

from treadle.kernel.entity import Entity, from_plain, to_json
from treadle.kernel.event import Event
from treadle.ports.blobs import digest_of

GENESIS = "0" * 64


class EventRecord(Entity):
    """One entry of the log. ``depth`` counts the causes above it; ``hash`` covers it and all entries before it."""

    number: int
    type: str
    subject: str
    at: datetime
    actor: str
    cause: int | None
    depth: int
    body: dict[str, Any]
    uses: list[str] = []
    makes: list[str] = []
    hash: str = ""

    def event(self) -> Event | None:
        """The typed event, or None when its type is of another version of Treadle."""
        kind = Event.registry.get(self.type)
        return from_plain(self.body, kind) if kind else None


class Chain(Entity):
    """What a check of the whole chain found. ``broken_at`` is the first entry whose hash does not fit."""

    entries: int
    intact: bool
    broken_at: int | None = None


class Thread(Entity):
    """The chain of causes of one thing, newest first, and the lineage its events name."""

    subject: str
    events: list[EventRecord]


def chained(record: EventRecord, before: str) -> str:
    """The hash of an entry: BLAKE3 over the hash before it and all of its own fields but the hash."""
    fields = [getattr(record, name) for name in record.__struct_fields__ if name != "hash"]
    return digest_of(before.encode() + to_json(fields))
