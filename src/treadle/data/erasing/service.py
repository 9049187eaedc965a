"""Plans and starts erasures of persons, and tells what was erased."""

from pathlib import Path

from sqlalchemy import select

from treadle.data.erasing.elsewhere import in_files, in_records
from treadle.data.erasing.finding import Finder, Found, Progress
from treadle.data.erasing.hiding import left_without, places_without
from treadle.data.erasing.model import Erasure, ErasureAbandoned, ErasurePlan, ErasureStarted
from treadle.data.erasing.records import Result, ancestors, erasure_of, save_result
from treadle.data.erasing.sealing import fingerprint, is_of, seal
from treadle.data.erasing.subject import Matching, Subject, checked
from treadle.data.erasing.work import working_in
from treadle.data.tables import erasures
from treadle.events.local import LocalEvents
from treadle.jobs.local import LocalJobs
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json, replace, to_text
from treadle.kernel.errors import Conflict, NotFound
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.keys import KeySource
from treadle.kernel.names import ErasureId, ProjectName
from treadle.kernel.operation import command, query
from treadle.kernel.stage import ERASE, Assembly
from treadle.ports.blobs import Blobs
from treadle.ports.content import LearntModel
from treadle.ports.database import Database, in_sight

ERASE_JOB = "data.erase"


class Erasures:
    """Erasures of persons from everything that a home, or a project of it, keeps."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        jobs: LocalJobs,
        assembly: Assembly,
        keys: KeySource,
        cache: Path,
    ) -> None:
        """Wire the service.

        Args:
            database: Where erasures are recorded.
            events: Where they are told.
            clock: Says when they were.
            blobs: Where contents are.
            jobs: Runs erasures that were asked for from elsewhere.
            assembly: Knows the stages that keep rows.
            keys: Gives the home's keys: a subject is kept as a keyed hash only.
            cache: The folder in which files are looked into.
        """
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._jobs, self._assembly = blobs, jobs, assembly
        self._keys, self._cache = keys, cache

    @command(role="admin", reads_rows=True)
    def plan(self, *, subjects: list[Subject], project: ProjectName | None = None) -> ErasurePlan:
        """Find where a person's rows are, and change nothing.

        Args:
            subjects: What identifies the person: columns with their values. A row is theirs that
                has one of them.
            project: Name of the project; all of the home if omitted.

        Returns:
            The places, the versions that have learnt from them, and what cannot be looked into.

        Raises:
            Conflict: An erasure is looking through the home now.
        """
        return self._planned(subjects, project, lambda *_: None)

    @command(role="admin", reads_rows=True)
    def start(self, *, subjects: list[Subject], project: ProjectName | None = None) -> Erasure:
        """Erase a person's rows: from versions of datasets, logs, features and tables of steps.

        A worker does it. What it was asked to erase is recorded as a keyed hash only.

        Args:
            subjects: What identifies the person: columns with their values. A row is theirs that
                has one of them.
            project: Name of the project; all of the home if omitted.

        Returns:
            The erasure; ``get`` tells when it is done.

        Raises:
            NotFound: No such row is anywhere; nothing is recorded then.
            Conflict: An erasure is under way.
        """
        erasure = self._begin(subjects, project, lambda *_: None)
        self._enqueue(erasure)
        return self.get(erasure=erasure)

    @command(role="admin")
    def resume(self, *, erasure: ErasureId) -> Erasure:
        """Let a worker go on with an erasure that was stopped.

        Args:
            erasure: Id of the erasure.

        Raises:
            NotFound: There is no such erasure.
            Conflict: It is done, or was abandoned.
        """
        self._going(erasure)
        self._enqueue(erasure)
        return self.get(erasure=erasure)

    @command(role="admin")
    def abandon(self, *, erasure: ErasureId) -> Erasure:
        """Give up an erasure that was stopped, such as one that cannot go on.

        What it has erased stays erased, and its record says so; rows may be left anywhere. Whose
        they were is forgotten.

        Args:
            erasure: Id of the erasure.

        Raises:
            NotFound: There is no such erasure.
            Conflict: It is done, was abandoned, or is being worked on now.
        """
        with working_in(self._cache):
            project = self._going(erasure).project
            values = {"state": "abandoned", "ended_at": self._clock.now(), "sealed": ""}
            with self._database.write() as transaction:
                same = erasures.update().where(erasures.c.id == erasure)
                transaction.execute(same.values(values))
                self._events.append(transaction, ErasureAbandoned(erasure=erasure, project=project))
        return self.get(erasure=erasure)

    @query()
    def get(self, *, erasure: ErasureId) -> Erasure:
        """Tell what an erasure has erased.

        Args:
            erasure: Id of the erasure.

        Raises:
            NotFound: There is no such erasure.
        """
        with self._database.read() as connection:
            wanted = select(erasures).where(erasures.c.id == erasure)
            row = connection.execute(wanted).mappings().one_or_none()
        if row is None:
            raise NotFound(
                f"There is no erasure '{erasure}'. List them with: treadle erasure erasures"
            )
        return erasure_of(row)

    @query()
    def erasures(
        self, *, project: ProjectName | None = None, limit: int | None = None
    ) -> list[Erasure]:
        """List erasures, newest first.

        Args:
            project: Name of the project; erasures of the whole home, and of any project, if
                omitted.
            limit: Largest number of erasures to list; all if omitted.
        """
        wanted = select(erasures).where(in_sight(erasures.c.project))
        wanted = wanted.order_by(erasures.c.started_at.desc(), erasures.c.id.desc())
        if project is not None:
            wanted = wanted.where(erasures.c.project == project)
        if limit is not None:
            wanted = wanted.limit(max(0, limit))
        with self._database.read() as connection:
            return [erasure_of(row) for row in connection.execute(wanted).mappings()]

    @command(role="admin")
    def check(self, *, erasure: ErasureId, subject: Subject) -> bool:
        """Check whether an erasure was that of a person, by what identifies them.

        Args:
            erasure: Id of the erasure.
            subject: A column and its value.

        Returns:
            Whether the record's keyed hash is that of the subject.

        Raises:
            NotFound: There is no such erasure.
        """
        known = self.get(erasure=erasure).fingerprints
        return any(is_of(self._keys(), erasure, subject, one) for one in known)

    def _planned(
        self, subjects: list[Subject], project: str | None, progress: Progress
    ) -> ErasurePlan:
        matching = checked(subjects)
        found = self._found(matching, project, progress)
        return ErasurePlan(
            places=places_without(found.places(), matching),
            models=self._learnt(found, project),
            left=left_without(found.left, matching),
        )

    def _going(self, erasure: str) -> Erasure:
        """An erasure that has not ended."""
        found = self.get(erasure=erasure)
        if found.state != "erasing":
            raise Conflict(f"Erasure '{erasure}' is {found.state}: nothing of it can be done.")
        return found

    def _enqueue(self, erasure: str) -> None:
        project = self.get(erasure=erasure).project
        with self._database.write() as transaction:
            job = self._jobs.enqueue(
                transaction,
                kind=ERASE_JOB,
                payload={"erasure": erasure},
                project=project,
                timeout_seconds=24 * 3600.0,
            )
            save_result(transaction, erasure, replace(self._result(erasure), job=job))

    def _result(self, erasure: str) -> Result:
        """What an erasure has done so far."""
        with self._database.read() as connection:
            text = connection.scalar(select(erasures.c.result).where(erasures.c.id == erasure))
        return from_json(text or "", Result)

    def _begin(self, subjects: list[Subject], project: str | None, progress: Progress) -> str:
        """Record an erasure, if there is anything to erase; gives its id."""
        matching = checked(subjects)
        under_way = [one.id for one in self.erasures(project=project) if one.state == "erasing"]
        if under_way:
            raise Conflict(
                f"Erasure '{under_way[0]}' is not done yet. Let it go on first: treadle data erase "
                "--resume. One that cannot go on is given up by: treadle data erase --abandon"
            )
        if not self._found(matching, project, progress).any:
            where = f"of project '{project}'" if project else "of this home"
            raise NotFound(
                f"No row {where} that can be looked into has such a value. Nothing was recorded."
            )
        erasure, keys = new_id("erasure"), self._keys()
        prints = [fingerprint(keys, erasure, subject) for subject in subjects]
        row = {
            "id": erasure,
            "project": project,
            "state": "erasing",
            "fingerprints": to_text(prints),
            "sealed": seal(keys, subjects),
            "result": to_text(Result()),
            "started_at": self._clock.now(),
            "actor": current_act().actor,
        }
        with self._database.write() as transaction:
            transaction.execute(erasures.insert().values(row))
            event = ErasureStarted(erasure=erasure, project=project, fingerprints=prints)
            self._events.append(transaction, event)
        return erasure

    def _found(self, matching: list[Matching], project: str | None, progress: Progress) -> Found:
        with working_in(self._cache) as folder:
            return self._looked(matching, project, folder, progress)

    def _looked(
        self, matching: list[Matching], project: str | None, folder: Path, progress: Progress
    ) -> Found:
        """What is found; of a whole home also what is left of it elsewhere."""
        finder = Finder(self._assembly, self._blobs, folder, self._events.mentioned)
        found = finder.find(matching, project, progress)
        if project is not None:
            return found
        elsewhere = [
            *in_records(self._database, matching),
            *in_files(self._cache.parent, matching),
        ]
        return found._replace(left=[*found.left, *elsewhere])

    def _learnt(self, found: Found, project: str | None) -> list[LearntModel]:
        """The versions of models that have learnt from what was found."""
        digests = {*found.held, *found.orphans, *found.trees, *found.files}
        seen = sorted(ancestors(self._database, digests))
        models = [
            one
            for answer in self._assembly.answers(ERASE)
            if answer.key == "models"
            for one in answer.method(seen, project)
        ]
        return list({one.version: one for one in models}.values())
