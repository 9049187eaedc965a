"""Finds out within a second whether what a server needs is there: database, schema and blobs."""

import logging
import time
from collections.abc import Callable
from threading import Lock, Thread

from treadle.kernel.entity import Entity
from treadle.kernel.errors import TreadleError
from treadle.platform.wiring import Embedded
from treadle.ports.blobs import check_place
from treadle.ports.database import Versioned

BOUND_SECONDS, KEPT_SECONDS = 1.0, 1.0
"""How long an answer may take, and for how long it is good: many may ask at once."""
log = logging.getLogger("treadle.ready")


class Part(Entity):
    """Something that a server needs.

    Attributes:
        name: ``database``, ``schema`` or ``blobs``.
        ready: Whether it is there.
        says: What is wrong, in a sentence; empty where it is there.
    """

    name: str
    ready: bool
    says: str = ""


class Readiness:
    """Asks each part in a thread of its own, and takes no answer in time for a no.

    A part that has not answered yet is not asked again meanwhile.

    Args:
        platform: What is asked.
    """

    def __init__(self, platform: Embedded) -> None:
        self._platform = platform
        self._questions: dict[str, Callable[[], str]] = {
            "database": self._database,
            "schema": self._schema,
            "blobs": self._blobs,
        }
        self._asked: dict[str, Thread] = {}
        self._answers: dict[str, str] = {}
        self._known: list[Part] = []
        self._known_at = float("-inf")
        self._lock = Lock()

    def parts(self) -> list[Part]:
        """Every part, and whether it is there now. Takes a second at most."""
        with self._lock:
            if time.monotonic() - self._known_at > KEPT_SECONDS:
                parts = self._look()
                self._tell(parts)
                self._known, self._known_at = parts, time.monotonic()
            return self._known

    def _look(self) -> list[Part]:
        until = time.monotonic() + BOUND_SECONDS
        for name, question in self._questions.items():
            asked = self._asked.get(name)
            if asked is None or not asked.is_alive():
                self._answers.pop(name, None)
                thread = Thread(target=self._ask, args=(name, question), daemon=True)
                self._asked[name] = thread
                thread.start()
        for thread in self._asked.values():
            thread.join(max(0.0, until - time.monotonic()))
        late = f"It has not answered within {BOUND_SECONDS:g} s."
        says = {name: self._answers.get(name, late) for name in self._questions}
        return [Part(name=name, ready=not said, says=said) for name, said in says.items()]

    def _ask(self, name: str, question: Callable[[], str]) -> None:
        try:
            self._answers[name] = question()
        except TreadleError as error:
            self._answers[name] = error.message
        except Exception as error:
            self._answers[name] = f"{type(error).__name__}: {error}"

    def _tell(self, parts: list[Part]) -> None:
        """Log what is there no longer, and what is there again; once each."""
        before = {part.name: part.ready for part in self._known}
        for part in parts:
            if not part.ready and before.get(part.name, True):
                log.error("not ready, for the %s: %s", part.name, part.says)
            elif part.ready and not before.get(part.name, True):
                log.warning("the %s is there again", part.name)

    def _database(self) -> str:
        self._platform.events.head()
        return ""

    def _schema(self) -> str:
        database = self._platform.database
        return schema_fault(database) if isinstance(database, Versioned) else ""

    def _blobs(self) -> str:
        check_place(self._platform.blobs)
        return ""


def schema_fault(database: Versioned) -> str:
    """What is wrong with a database's schema, and what to do; empty where nothing is.

    Args:
        database: The database.

    Raises:
        Unavailable: It does not answer.
    """
    schema = database.schema()
    if schema.current:
        return ""
    if not schema.known:
        return (
            f"The schema is {schema.stored}, which Treadle {schema.writer} has made and this one "
            f"does not know. Upgrade it: pip install --upgrade treadle"
        )
    return (
        f"The schema is {schema.stored or 'not there yet'}, behind {schema.wanted} of this "
        "Treadle. Start 'treadle up' again: it migrates the database."
    )
