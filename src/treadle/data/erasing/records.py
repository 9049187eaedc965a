"""Keeps erasures, the dataset versions that they replaced, and the contents that are gone."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from treadle.data.erasing.model import (
    DatasetVersionErased,
    ErasedContent,
    ErasedPlace,
    Erasure,
    NotLookedInto,
)
from treadle.data.tables import dataset_versions, erased_contents, erased_versions, erasures
from treadle.kernel.entity import Entity, from_json, to_text
from treadle.kernel.errors import Conflict
from treadle.kernel.escaping import shell
from treadle.ports.content import LearntModel, Replacements
from treadle.ports.database import Database, load


class Result(Entity):
    """What an erasure has done so far."""

    places: list[ErasedPlace] = []
    contents: list[ErasedContent] = []
    models: list[LearntModel] = []
    left: list[NotLookedInto] = []
    job: str = ""

    def with_places(self, found: Iterable[ErasedPlace]) -> list[ErasedPlace]:
        """The places with others; one that is there already is not counted again.

        Args:
            found: The others.
        """
        known = {(one.project, one.what, one.digest): one for one in self.places}
        for one in found:
            known.setdefault((one.project, one.what, one.digest), one)
        return list(known.values())


def erasure_of(row: Any) -> Erasure:
    """An erasure from its row.

    Args:
        row: The row, by column name.
    """
    result = from_json(row["result"], Result)
    return load(
        Erasure,
        row,
        fingerprints=from_json(row["fingerprints"], list[str]),
        **{name: getattr(result, name) for name in Result.__struct_fields__},
    )


def save_result(transaction: Connection, erasure: str, result: Result) -> None:
    """Keep what an erasure has done so far.

    Args:
        transaction: The write transaction of what it has done.
        erasure: Its id.
        result: What it has done.
    """
    same = erasures.update().where(erasures.c.id == erasure)
    transaction.execute(same.values(result=to_text(result)))


def replace_versions(
    transaction: Connection,
    erasure: str,
    replaced: Replacements,
    project: str | None,
    at: datetime,
) -> list[DatasetVersionErased]:
    """Let versions of datasets be the contents that take others' places.

    Versions that are equal now become one: the newest stays.

    Args:
        transaction: The write transaction.
        erasure: Id of the erasure.
        replaced: The new contents.
        project: The project whose versions are changed; None for all.
        at: When that is.

    Returns:
        An event for each version.
    """
    versions = dataset_versions.c
    told = []
    for old, new in replaced.items():
        wanted = select(dataset_versions).where(versions.digest == old)
        if project is not None:
            wanted = wanted.where(versions.project == project)
        for row in transaction.execute(wanted).mappings().all():
            event = DatasetVersionErased(
                project=row["project"],
                name=row["name"],
                digest=old,
                successor=new.digest,
                erasure=erasure,
                rows=new.removed,
            )
            _replace_version(transaction, row, new.digest, new.files, new.bytes)
            note = {
                "project": event.project,
                "name": event.name,
                "digest": old,
                "successor": new.digest,
                "erasure": erasure,
                "at": at,
            }
            gone = erased_versions.c  # again where somebody has brought the version back since
            again = (gone.project == event.project) & (gone.name == event.name)
            again &= gone.digest == old
            transaction.execute(erased_versions.delete().where(again))
            transaction.execute(erased_versions.insert().values(note))
            told.append(event)
    return told


def _replace_version(transaction: Connection, row: Any, digest: str, files: int, size: int) -> None:
    versions = dataset_versions.c
    own = (versions.project == row["project"]) & (versions.name == row["name"])
    same = select(versions.created_at).where(own, versions.digest == digest)
    equal = transaction.scalar(same)
    moment = row["created_at"] if equal is None else max(equal, row["created_at"])
    if equal is not None:
        transaction.execute(dataset_versions.delete().where(own, versions.digest == digest))
    changed = dataset_versions.update().where(own, versions.digest == row["digest"])
    values = {"digest": digest, "files": files, "bytes": size, "created_at": moment}
    transaction.execute(changed.values(values))


def note_erased(
    transaction: Connection, erasure: str, digests: Iterable[str], project: str | None
) -> None:
    """Remember contents that are to be removed, and may not come back.

    Args:
        transaction: The write transaction.
        erasure: Id of the erasure.
        digests: The contents.
        project: The project in which they are erased; None for all.
    """
    for digest in digests:
        own = (erased_contents.c.digest == digest) & (erased_contents.c.project == (project or ""))
        transaction.execute(erased_contents.delete().where(own))
        row = {"digest": digest, "project": project or "", "erasure": erasure, "removed": False}
        transaction.execute(erased_contents.insert().values(row))


def pending(database: Database, erasure: str) -> list[str]:
    """The contents that an erasure has not removed yet.

    Args:
        database: Where they are noted.
        erasure: Its id.
    """
    own = erased_contents.c.erasure == erasure
    wanted = select(erased_contents.c.digest).where(own, erased_contents.c.removed.is_(False))
    with database.read() as connection:
        return list(connection.scalars(wanted.order_by(erased_contents.c.digest)))


def settle(database: Database, erasure: str) -> None:
    """Note that an erasure's contents were removed, or are named by others still.

    Args:
        database: Where they are noted.
        erasure: Its id.
    """
    own = erased_contents.c.erasure == erasure
    with database.write() as transaction:
        transaction.execute(erased_contents.update().where(own).values(removed=True))


def ancestors(database: Database, digests: set[str]) -> set[str]:
    """The versions whose places some versions took, by earlier erasures, and these themselves.

    Args:
        database: Where they are.
        digests: Digests of the versions.
    """
    with database.read() as connection:
        rows = connection.execute(select(erased_versions.c.digest, erased_versions.c.successor))
        before: dict[str, set[str]] = {}
        for digest, successor in rows:
            before.setdefault(successor, set()).add(digest)
    found, new = set(digests), set(digests)
    while new:
        new = {old for digest in new for old in before.get(digest, ())} - found
        found |= new
    return found


def replaced_by(database: Database, project: str) -> dict[tuple[str, str], list[str]]:
    """The digests of the versions whose places present ones have taken.

    Args:
        database: Where they are.
        project: The project.

    Returns:
        The digests that are gone, by the dataset's name and the present digest.
    """
    own = select(erased_versions).where(erased_versions.c.project == project)
    with database.read() as connection:
        rows = connection.execute(own.order_by(erased_versions.c.at)).all()
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        earlier = found.pop((row.name, row.digest), [])
        found.setdefault((row.name, row.successor), []).extend([*earlier, row.digest])
    return found


class Erased(NamedTuple):
    """Contents that erasures have removed.

    Attributes:
        here: Digests of those that may not come back into a project.
        elsewhere: Digests of those that only other projects have erased.
    """

    here: frozenset[str]
    elsewhere: frozenset[str]


class ErasedContents:
    """Refuses contents that hold rows which an erasure has removed.

    Args:
        database: Where they are noted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, project: str, transaction: Connection | None = None) -> Erased:
        """The contents that may not come back into a project, and those of others.

        Args:
            project: The project.
            transaction: The transaction in which they are read; None for one of its own.
        """
        wanted = select(erased_contents.c.digest, erased_contents.c.project)
        if transaction is None:
            with self._database.read() as connection:
                rows = connection.execute(wanted).all()
        else:
            rows = transaction.execute(wanted).all()
        here = {row.digest for row in rows if row.project in ("", project)}
        return Erased(frozenset(here), frozenset({row.digest for row in rows} - here))


def refuse_erased(name: str, path: str) -> None:
    """Refuse content that was erased; which erasure it was is told to nobody who tries values.

    Args:
        name: The dataset that it would be of.
        path: The file, or empty for the whole version.

    Raises:
        Conflict: Always.
    """
    what = f"File '{path}' of '{name}'" if path else f"This version of '{name}'"
    raise Conflict(
        f"{what} holds content that was erased and may not come back. Take what was erased out "
        f"of your copy too: {shell('treadle', 'data', 'checkout', name)} brings one without it."
    )
