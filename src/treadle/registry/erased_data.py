"""Finds and marks the versions that have learnt from rows which were erased since."""

from sqlalchemy import Connection, select

from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, to_text
from treadle.kernel.stage import ERASE, Assembly
from treadle.ports.content import LearntModel
from treadle.ports.database import Database
from treadle.registry.hooks import DEPLOYED_AT
from treadle.registry.model import ERASED_TAG, TrainingDataErased
from treadle.registry.tables import versions
from treadle.tracking.local import LocalTracking


class ErasedData:
    """Marks versions by a tag and an event. Whether to train anew is for people to decide.

    Args:
        database: Where versions are.
        events: Where marks are told.
        clock: Says when they were set.
        tracking: Knows which runs have read which data.
        assembly: Knows where versions are deployed.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        tracking: LocalTracking,
        assembly: Assembly,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._tracking, self._assembly = tracking, assembly

    @ERASE("models")
    def learnt(self, digests: list[str], project: str | None) -> list[LearntModel]:
        """The versions whose runs have read some data.

        Args:
            digests: Digests of the data.
            project: The project of the versions; None for all.
        """
        runs = {
            reader.run
            for digest in digests
            for reader in self._tracking.readers(digest=digest)
            if reader.digest == digest
        }
        wanted = select(versions).where(versions.c.run.in_(sorted(runs)))
        if project is not None:
            wanted = wanted.where(versions.c.project == project)
        with self._database.read() as connection:
            ordered = wanted.order_by(versions.c.model, versions.c.number)
            rows = connection.execute(ordered).all() if runs else []
        deployed = {
            version: endpoints
            for answer in self._assembly.answers(DEPLOYED_AT)
            for version, endpoints in answer.method().items()
        }
        return [
            LearntModel(
                project=row.project,
                version=f"{row.model}:{row.number}",
                endpoints=deployed.get((row.model, row.number), []),
            )
            for row in rows
        ]

    @ERASE("mark")
    def mark(self, transaction: Connection, erasure: str, models: list[LearntModel]) -> None:
        """Mark versions, approved ones too; each is marked once for an erasure.

        Args:
            transaction: The write transaction.
            erasure: Id of the erasure.
            models: The versions.
        """
        for one in models:
            model, _, number = one.version.rpartition(":")
            here = (versions.c.model == model) & (versions.c.number == int(number))
            text = transaction.scalar(select(versions.c.tags).where(here))
            tags = from_json(text or "{}", dict[str, str])
            known = tags.get(ERASED_TAG, "").split()
            if erasure in known:
                continue
            tags[ERASED_TAG] = " ".join([*known, erasure])
            values = {"tags": to_text(tags), "updated_at": self._clock.now()}
            transaction.execute(versions.update().where(here).values(values))
            event = TrainingDataErased(
                model=model, number=int(number), project=one.project, erasure=erasure
            )
            self._events.append(transaction, event)
