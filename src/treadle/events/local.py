"""The event log as the process has it that holds the database."""

from datetime import datetime

from sqlalchemy import Connection, func, or_, select

from treadle.events.head import Head, head_of_events, read_head, write_head
from treadle.events.model import EventRecord, chained
from treadle.events.service import Events
from treadle.events.tables import event_cursors, event_links, events
from treadle.kernel.entity import to_plain, to_text
from treadle.kernel.event import Event, current_act

_COLUMNS = tuple(column.name for column in events.c)
_INSERT = events.insert()
_TEXTS_AT_ONCE = 100


class LocalEvents(Events):
    """The append-only event log, chained by hashes; with what only this process does."""

    def append(self, transaction: Connection, event: Event) -> int:
        """Write an event with the change it tells of. Returns its number; numbers have no gaps.

        Args:
            transaction: The write transaction of the change.
            event: The event; who acts and its cause are those of ``acting``.
        """
        # The head says what comes next: where a tail was cut off, the gap stays visible.
        before = read_head(transaction)
        record = self._record(transaction, before.number + 1, event)
        row = {name: getattr(record, name) for name in _COLUMNS}
        row |= {"body": to_text(record.body), "hash": chained(record, before.hash)}
        transaction.execute(_INSERT, row)
        write_head(transaction, self._signed(record.number, row["hash"]))
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
            project=event.belongs_to,
            at=self._clock.now(),
            actor=act.actor,
            cause=act.cause,
            depth=depth,
            body=to_plain(event),
            uses=sorted(set(event.uses)),
            makes=sorted(set(event.makes)),
        )

    def head(self) -> Head:
        """Give the log's signed head."""
        with self._database.read() as connection:
            return read_head(connection)

    def sign_head(self) -> Head:
        """Sign the newest event as the log's head, where it has none that is signed.

        A log that an older version wrote, or that was imported, has none before this.

        Returns:
            The head.
        """
        with self._database.write() as transaction:
            head = read_head(transaction)
            if not head.signature:
                newest = head_of_events(transaction)
                head = self._signed(newest.number, newest.hash)
                write_head(transaction, head)
        return head

    def first_since(self, connection: Connection, moment: datetime) -> int:
        """Give the number of the first event since a moment; the next one's where none is.

        Args:
            connection: An open connection, such as that of a transaction.
            moment: The moment.
        """
        first = connection.scalar(select(func.min(events.c.number)).where(events.c.at >= moment))
        return read_head(connection).number + 1 if first is None else first

    def last_number(self) -> int:
        """Give the number of the newest event; 0 where there is none."""
        with self._database.read() as connection:
            return connection.scalar(select(func.max(events.c.number))) or 0

    def counts(self, after: int, until: int) -> dict[tuple[str, str], int]:
        """Count the events of a range of numbers by type and project, which is '' for none.

        Args:
            after: The number before the first.
            until: The number of the last.
        """
        grouped = (
            select(events.c.type, events.c.project, func.count())
            .where(events.c.number > after, events.c.number <= until)
            .group_by(events.c.type, events.c.project)
        )
        with self._database.read() as connection:
            found = connection.execute(grouped)
            return {(kind, project or ""): count for kind, project, count in found}

    def project_of(self, connection: Connection, number: int) -> str | None:
        """Give the project of an event, or None where it belongs to none or is not there.

        Args:
            connection: An open connection, such as that of a transaction.
            number: The event's number.
        """
        project: str | None = connection.scalar(
            select(events.c.project).where(events.c.number == number)
        )
        return project

    def mentioned(self, texts: set[str]) -> set[str]:
        """Which of some texts are anywhere in what events say.

        Args:
            texts: Texts without quotes, such as digests.
        """
        left = sorted(texts)
        found: set[str] = set()
        with self._database.read() as connection:
            for start in range(0, len(left), _TEXTS_AT_ONCE):
                batch = left[start : start + _TEXTS_AT_ONCE]
                has = or_(*(events.c.body.contains(text, autoescape=True) for text in batch))
                for body in connection.scalars(select(events.c.body).where(has)):
                    found |= {text for text in batch if text in body}
        return found

    def unread(self, reader: str, *, limit: int = 500, otherwise: str = "") -> list[EventRecord]:
        """List the events that a reader has not confirmed yet.

        Delivery is at least once: confirm after acting on them.

        Args:
            reader: The name under which the reader confirms.
            limit: How many to give at most.
            otherwise: A reader whose place counts where this one has confirmed nothing yet.
        """
        places = select(event_cursors.c.reader, event_cursors.c.number)
        known = places.where(event_cursors.c.reader.in_([reader, otherwise]))
        with self._database.read() as connection:
            numbers = {row.reader: row.number for row in connection.execute(known)}
        seen = numbers.get(reader, numbers.get(otherwise))
        return self.history(after=seen or 0, limit=limit)

    def confirm(self, transaction: Connection, reader: str, number: int) -> None:
        """Move a reader's cursor, in the transaction of what the reader did.

        Args:
            transaction: The write transaction of what the reader did.
            reader: The reader's name.
            number: The last event that it has acted on.
        """
        moved = transaction.execute(
            event_cursors.update().where(event_cursors.c.reader == reader).values(number=number)
        )
        if not moved.rowcount:
            transaction.execute(event_cursors.insert().values(reader=reader, number=number))
