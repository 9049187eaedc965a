"""Appends events in the transaction of their change; answers what happened and why."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Select, select

from treadle.events.head import Head, head_fault, read_head, signed_head
from treadle.events.model import GENESIS, Chain, EventRecord, Thread, is_chained
from treadle.events.tables import event_links, events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.event import Event
from treadle.kernel.keys import KEY_BYTES, Keys, KeySource, key_of
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import query
from treadle.ports.database import Database

SUBJECTS = ("alias", "version", "endpoint", "run", "pipeline", "job", "project", "dataset", "token")
"""The kinds of things that ``why`` looks for under a plain name, in this order."""
LONGEST_CHAIN = 1_000
"""Causes that are walked at most."""
_NO_HOME = Keys(keys=[key_of(bytes(KEY_BYTES))])
"""Signs the head of a log that is of no home."""


class Events:
    """The append-only event log, chained by hashes.

    Args:
        database: Where the log is kept.
        clock: Tells when an event is written.
        keys: Gives the keys that sign the head of the log.
    """

    def __init__(
        self, database: Database, clock: Clock, keys: KeySource = lambda: _NO_HOME
    ) -> None:
        self._database = database
        self._clock = clock
        self._keys = keys

    @query()
    def history(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        subject: str | None = None,
        type: str | None = None,
        newest_first: bool = False,
        project: ProjectName | None = None,
        before: int | None = None,
        actor: str | None = None,
    ) -> list[EventRecord]:
        """List events in the order in which they happened, or newest first.

        Args:
            after: Give events with a greater number only, such as the last number you have seen.
            limit: How many to give at most; never more than 10000.
            subject: Give events about this thing only, such as ``endpoint:flight-delay``.
            type: Give events of this type only, such as ``RolloutPromoted``.
            newest_first: Begin with the newest event.
            project: Give events of this project only.
            before: Give events with a smaller number only, such as the smallest you have seen.
            actor: Give events of this actor only.
        """
        wanted = select(events).where(events.c.number > after)
        if before is not None:
            wanted = wanted.where(events.c.number < before)
        equal = {"subject": subject, "type": type, "project": project, "actor": actor}
        for column, value in equal.items():
            if value:
                wanted = wanted.where(events.c[column] == value)
        order = events.c.number.desc() if newest_first else events.c.number
        return self._read(wanted.order_by(order).limit(max(0, min(limit, 10_000))))

    @query()
    def why(self, *, subject: str, project: ProjectName | None = None) -> Thread:
        """Show the chain of causes that ends in the newest event about a thing.

        Args:
            subject: The thing, as it is known (``flight-delay@champion``, ``flight-delay:3``, an
                endpoint, a run) or in full, such as ``endpoint:flight-delay``.
            project: Look at the events of this project only, those that are causes included.

        Raises:
            NotFound: No event is about the thing.
        """
        for name in (subject, *(f"{kind}:{subject}" for kind in SUBJECTS)):
            newest = self.history(subject=name, newest_first=True, limit=1, project=project)
            if newest and name.startswith("version:"):  # what became of it is told by its rollouts
                fates = [
                    record
                    for record in self.used(thing=name)
                    if record.type.startswith("Rollout") and project in (None, record.project)
                ]
                newest = [max([*newest, *fates], key=lambda record: record.number)]
            if newest:
                chain = self.causes(number=newest[0].number)
                chain = [record for record in chain if project in (None, record.project)]
                return Thread(
                    subject=name, events=chain, signatures=self._signatures(chain, project)
                )
        wanted = select(events.c.subject).distinct()
        if project is not None:
            wanted = wanted.where(events.c.project == project)
        with self._database.read() as connection:
            known = {name.partition(":")[2] for name in connection.scalars(wanted)}
        raise NotFound(f"Nothing is known about '{subject}'.{did_you_mean(subject, known)}")

    def _signatures(self, chain: list[EventRecord], project: str | None) -> list[EventRecord]:
        """What people have signed of the things that a chain names."""
        named = {thing for record in chain for thing in (record.subject, *record.uses)}
        kinds = [name for name, kind in Event.registry.items() if kind.is_signature]
        signed = events.c.subject.in_(sorted(named)) & events.c.type.in_(kinds)
        if project is not None:
            signed &= events.c.project == project
        return self._read(select(events).where(signed).order_by(events.c.number))

    @query()
    def causes(self, *, number: int, project: ProjectName | None = None) -> list[EventRecord]:
        """List an event and the causes above it, newest first.

        Args:
            number: The event's number.
            project: Look at the events of this project only.

        Raises:
            NotFound: There is no event of that number.
        """
        chain: list[EventRecord] = []
        next_number: int | None = number
        while next_number is not None and len(chain) < LONGEST_CHAIN:
            cause = self._read(select(events).where(events.c.number == next_number))
            if not cause:
                raise NotFound(f"There is no event {next_number}.")
            chain += cause
            next_number = cause[0].cause
        if project is not None and chain[0].project != project:
            raise NotFound(f"There is no event {number} in project '{project}'.")
        return [record for record in chain if project in (None, record.project)]

    @query()
    def effects(self, *, number: int, project: ProjectName | None = None) -> list[EventRecord]:
        """List the events that an event caused directly, in order.

        Args:
            number: The number of the event that caused them.
            project: List events of this project only.
        """
        wanted = select(events).where(events.c.cause == number)
        if project is not None:
            wanted = wanted.where(events.c.project == project)
        return self._read(wanted.order_by(events.c.number))

    @query()
    def made(self, *, thing: str) -> EventRecord | None:
        """Give the event that made a thing, or nothing: one step of lineage, upstream.

        Args:
            thing: The thing with its kind, such as ``package:DIGEST`` or ``verdict:ID``.
        """
        made = self._linked(thing, "makes")
        return made[0] if made else None

    @query()
    def used(self, *, thing: str) -> list[EventRecord]:
        """List the events that used a thing: one step of lineage, downstream.

        Args:
            thing: The thing with its kind, such as ``data:DIGEST`` or ``version:flight-delay:3``.
        """
        return self._linked(thing, "uses")

    @query(reads_rows=True)
    def verify(self) -> Chain:
        """Recompute every hash and tell whether the log was changed after the fact.

        The signed head shows whether the newest entries were cut off. It lies in the same database:
        an older copy of the whole database is found by ``treadle verify``, from the home.
        """
        with self._database.read() as connection:
            head = read_head(connection)
        before, count = GENESIS, 0
        while page := self._page(after=count):
            for record in page:
                count += 1
                if record is None or record.number != count or not is_chained(record, before):
                    return Chain(entries=count, intact=False, broken_at=count)
                before = record.hash
                if count == head.number and before != head.hash:
                    return Chain(entries=count, intact=False, broken_at=count)
        if count < head.number:
            return Chain(entries=count, intact=False, broken_at=count + 1, cut_off=True)
        fault = head_fault(head, self._keys()) if head.signature else ""
        if fault:
            return Chain(entries=count, intact=False, forged_head=True, fault=fault)
        return Chain(entries=count, intact=True)

    def _signed(self, number: int, hash: str) -> Head:
        return signed_head(number, hash, self._keys())

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
            for name in (
                *("number", "type", "subject", "project", "at"),
                *("actor", "cause", "depth", "hash"),
            )
        },
        body=from_json(row["body"], dict[str, Any]),
        uses=sorted(links.get((row["number"], "uses"), [])),
        makes=sorted(links.get((row["number"], "makes"), [])),
    )
