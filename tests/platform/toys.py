"""A stage that another package could bring: toys that are wound up by jobs."""

from collections.abc import Mapping
from typing import Annotated, Any

from sqlalchemy import Boolean, Column, MetaData, String, Table, select

from treadle.events.local import LocalEvents
from treadle.events.model import EventRecord
from treadle.jobs.local import LocalJobs
from treadle.kernel.entity import Entity
from treadle.kernel.errors import NotFound
from treadle.kernel.event import Event
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import Names, command, query
from treadle.kernel.stage import JOB, PROJECT_OF, RECONCILE, Service, Stage
from treadle.loop.hooks import RULE
from treadle.loop.model import Outcome
from treadle.ports.database import Database, load
from treadle.ports.naming import look_up

toys = Table(
    "toys",
    MetaData(),
    Column("name", String(80), primary_key=True),
    Column("project", String(63), nullable=False),
    Column("wound", Boolean, nullable=False),
    Column("job", String(40)),
)

ToyName = Annotated[str, Names("toy")]


class Toy(Entity):
    name: str
    project: str
    wound: bool


class ToyMade(Event):
    project: str
    toy: str

    @property
    def subject(self) -> str:
        return f"toy:{self.toy}"


class Toys:
    """Toys of projects."""

    def __init__(self, database: Database, events: LocalEvents, jobs: LocalJobs) -> None:
        self._database, self._events, self._jobs = database, events, jobs

    @command()
    def make(self, *, project: ProjectName, name: str, colours: list[str] | None = None) -> Toy:
        """Make a toy.

        Args:
            project: The project that it belongs to.
            name: What it is called.
            colours: Its colours, the main one first.
        """
        toy = Toy(name=f"{name}-{'-'.join(colours or ['plain'])}", project=project, wound=False)
        with self._database.write() as transaction:
            transaction.execute(toys.insert().values(name=toy.name, project=project, wound=False))
            self._events.append(transaction, ToyMade(project=project, toy=toy.name))
        return toy

    @query()
    def get(self, *, toy: ToyName) -> Toy:
        """One toy.

        Args:
            toy: Its name.

        Raises:
            NotFound: There is no such toy.
        """
        with self._database.read() as connection:
            row = connection.execute(select(toys).where(toys.c.name == toy)).mappings().first()
        if row is None:
            raise NotFound(f"There is no toy '{toy}'.")
        return load(Toy, row)

    @query()
    def find(self, *, limit: int = 10) -> list[Toy]:
        """Toys by name.

        Args:
            limit: How many at most.
        """
        with self._database.read() as connection:
            rows = connection.execute(select(toys).order_by(toys.c.name).limit(limit)).mappings()
            return [load(Toy, row) for row in rows]

    @RECONCILE()
    def reconcile(self) -> int:
        """Queue a job for every toy that nobody winds yet."""
        with self._database.write() as transaction:
            idle = select(toys.c.name).where(toys.c.job.is_(None))
            names = transaction.scalars(idle).all()
            for name in names:
                job = self._jobs.enqueue(transaction, kind="toys.wind", payload={"toy": name})
                transaction.execute(toys.update().where(toys.c.name == name).values(job=job))
        return len(names)

    @RULE((ToyMade, "paint what was made"))
    def paint(self, record: EventRecord, event: Event) -> tuple[Outcome, str]:
        """Note that a toy was made."""
        assert isinstance(event, ToyMade)
        return "acted", f"painted {event.toy}, as event {record.number} says"

    @JOB("toys.wind")
    def wind(self, payload: Mapping[str, Any]) -> bool:
        """Wind a toy up."""
        with self._database.write() as transaction:
            mine = toys.c.name == payload["toy"]
            transaction.execute(toys.update().where(mine).values(wound=True))
        return True


class ToyNames:
    """Looks up the projects of toys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @PROJECT_OF("toy")
    def toy(self, name: str, _: Mapping[str, Any]) -> str:
        return str(look_up(self._database, toys.c.project, toys.c.name, name))


STAGE = Stage(
    name="toys",
    parts=("tests.platform.toys:ToyNames",),
    services=(Service(name="toys", about="Toys of projects.", kind="tests.platform.toys:Toys"),),
    tables="tests.platform.toys",
)
