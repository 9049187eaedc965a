"""Appends events in the transaction of their change, and answers what happened, why, and whether it was tampered with."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, func, select

from treadle.events.model import GENESIS, Chain, EventRecord, Thread, chained
from treadle.events.tables import event_cursors, event_links, events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_plain, to_text
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.event import Event, current_act
from treadle.kernel.operation import query
from treadle.ports.database import Database

SUBJECTS = ("alias", "version", "endpoint", "run", "pipeline", "job", "project", "dataset", "token")


class Events:
    """The event log."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def append(self, transaction: Connection, event: Event) -> int:
        """Write an event with the change it tells of. Returns its number; numbers have no gaps."""
        last = transaction.execute(
            select(events.c.number, events.c.hash).order_by(events.c.number.desc()).limit(1)
        )
        number, before = last.one_or_none() or (0, GENESIS)
        record = self._record(transaction, number + 1, event)
        row = {c.name: getattr(record, c.name) for c in events.c}
        row |= {"body": to_text(record.body), "hash": chained(record, before)}
        transaction.execute(events.insert().values(row))
        links = [("uses", thing) for thing in record.uses] + [
            ("makes", thing) for thing in record.makes
        ]
        if links:
            rows = [
                {"event": record.number, "direction": way, "thing": thing}
                for way, thing in dict.fromkeys(links)
            ]
            transaction.execute(event_links.insert(), rows)
        return record.number

    def _record(self, transaction: Connection, number: int, event: Event) -> EventRecord:
        act = current_act()
        depth = 0
        if act.cause is not None:
            depth = 1 + (
                transaction.scalar(select(events.c.depth).where(events.c.number == act.cause)) or 0
            )
        return EventRecord(
            number=number,
            type=type(event).__name__,
            subject=event.subject,
            at=self._clock.now(),
            actor=act.actor,
            cause=act.cause,
            depth=depth,
            body=to_plain(event),
            uses=sorted(set(event.uses)),
            makes=sorted(set(event.makes)),
        )

    @query()
    def history(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        subject: str | None = None,
        type: str | None = None,
        newest_first: bool = False,
    ) -> list[EventRecord]:
        """Events in order (or newest first), of one subject or type if given; ``after`` is the last number seen."""
        wanted = select(events).where(events.c.number > after)
        if subject:
            wanted = wanted.where(events.c.subject == subject)
        if type:
            wanted = wanted.where(events.c.type == type)
        order = events.c.number.desc() if newest_first else events.c.number
        return self._read(wanted.order_by(order).limit(max(0, min(limit, 10_000))))

    @query()
    def why(self, *, subject: str) -> Thread:
        """The chain of causes that ends in the newest event about a thing.

        Name it as it is known (``flight-delay@champion``, ``flight-delay:3``, an endpoint, a run) or by its full subject,
        such as ``endpoint:flight-delay``.
        """
        for name in (subject, *(f"{kind}:{subject}" for kind in SUBJECTS)):
            newest = self.history(subject=name, newest_first=True, limit=1)
            if newest and name.startswith("version:"):  # what became of it is told by its rollouts
                fates = [
                    record for record in self.used(thing=name) if record.type.startswith("Rollout")
                ]
                newest = [max([*newest, *fates], key=lambda record: record.number)]
            if newest:
                return Thread(subject=name, events=self.causes(number=newest[0].number))
        with self._database.read() as connection:
            known = {
                name.partition(":")[2]
                for name in connection.scalars(select(events.c.subject).distinct())
            }
        raise NotFound(f"Nothing is known about '{subject}'.{did_you_mean(subject, known)}")

    @query()
    def causes(self, *, number: int) -> list[EventRecord]:
        """The event of that number and the causes above it, newest first."""
        chain: list[EventRecord] = []
        wanted: int | None = number
        while wanted is not None and len(chain) < 1_000:
            found = self._read(select(events).where(events.c.number == wanted))
            if not found:
                raise NotFound(f"There is no event {wanted}.")
            chain += found
            wanted = found[0].cause
        return chain

    @query()
    def effects(self, *, number: int) -> list[EventRecord]:
        """The events that an event caused directly, in order."""
        return self._read(select(events).where(events.c.cause == number).order_by(events.c.number))

    @query()
    def made(self, *, thing: str) -> EventRecord | None:
        """The event that made a thing, or None: one step of lineage, upstream."""
        found = self._linked(thing, "makes")
        return found[0] if found else None

    @query()
    def used(self, *, thing: str) -> list[EventRecord]:
        """The events that used a thing: one step of lineage, downstream."""
        return self._linked(thing, "uses")

    @query()
    def verify(self) -> Chain:
        """Recompute every hash: has the log been changed after the fact?

        It cannot see that the newest entries were cut off: compare ``entries`` with what you knew.
        """
        before, count = GENESIS, 0
        while page := self._page(after=count):
            for record in page:
                count += 1
                if (
                    record is None
                    or record.number != count
                    or chained(record, before) != record.hash
                ):
                    return Chain(entries=count, intact=False, broken_at=count)
                before = record.hash
        return Chain(entries=count, intact=True)

    def _page(self, *, after: int, size: int = 2_000) -> list[EventRecord | None]:
        """The next entries; None for one that cannot even be read."""
        wanted = select(events).where(events.c.number > after).order_by(events.c.number).limit(size)
        try:
            return list(self._read(wanted))
        except Invalid:
            return self._page_by_one(after, size)

    def _page_by_one(self, after: int, size: int) -> list[EventRecord | None]:
        found: list[EventRecord | None] = []
        for number in range(after, after + size):
            try:
                one = self._read(select(events).where(events.c.number == number + 1))
            except Invalid:
                return [*found, None]
            if not one:
                break
            found += one
        return found

    def last_number(self) -> int:
        with self._database.read() as connection:
            return connection.scalar(select(func.max(events.c.number))) or 0

    def unread(self, reader: str, *, limit: int = 500) -> list[EventRecord]:
        """The events a reader has not confirmed yet. Delivered at least once: confirm after acting on them."""
        with self._database.read() as connection:
            seen = connection.scalar(
                select(event_cursors.c.number).where(event_cursors.c.reader == reader)
            )
        return self.history(after=seen or 0, limit=limit)

    def confirm(self, transaction: Connection, reader: str, number: int) -> None:
        """Move a reader's cursor, in the transaction of what the reader did."""
        moved = transaction.execute(
            event_cursors.update().where(event_cursors.c.reader == reader).values(number=number)
        )
        if not moved.rowcount:
            transaction.execute(event_cursors.insert().values(reader=reader, number=number))

    def _linked(self, thing: str, direction: str) -> list[EventRecord]:
        linked = select(event_links.c.event).where(
            event_links.c.thing == thing, event_links.c.direction == direction
        )
        return self._read(
            select(events).where(events.c.number.in_(linked)).order_by(events.c.number)
        )

    def _read(self, wanted: Select[Any]) -> list[EventRecord]:
        with self._database.read() as connection:
            rows = connection.execute(wanted).mappings().all()
            numbers = [row["number"] for row in rows]
            links = (
                connection.execute(select(event_links).where(event_links.c.event.in_(numbers)))
                .mappings()
                .all()
            )
        by_event: dict[tuple[int, str], list[str]] = {}
        for link in links:
            by_event.setdefault((link["event"], link["direction"]), []).append(link["thing"])
        return [_loaded(row, by_event) for row in rows]


def _loaded(row: Mapping[Any, Any], links: dict[tuple[int, str], list[str]]) -> EventRecord:
    """Build an entry from its row."""
    return EventRecord(
        **{
            name: row[name]
            for name in ("number", "type", "subject", "at", "actor", "cause", "depth", "hash")
        },
        body=from_json(row["body"], dict[str, Any]),
        uses=sorted(links.get((row["number"], "uses"), [])),
        makes=sorted(links.get((row["number"], "makes"), [])),
    )
