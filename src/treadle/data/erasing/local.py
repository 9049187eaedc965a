"""Erasures as the process has them that holds the database: it does the work, and may be killed.

Every step may be repeated. An erasure is done only after a look through everything has found no row
any more; one that was stopped before goes on from the start of that look.
"""

import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import select

from treadle.data.erasing.finding import Found, Progress
from treadle.data.erasing.hiding import left_without, places_without
from treadle.data.erasing.model import ErasedContent, Erasure, ErasureDone, ErasurePlan
from treadle.data.erasing.records import (
    Result,
    note_erased,
    pending,
    replace_versions,
    save_result,
    settle,
)
from treadle.data.erasing.replacing import (
    CLOCK_SECONDS,
    remove_contents,
    spare_named,
    store_successors,
)
from treadle.data.erasing.sealing import opened
from treadle.data.erasing.service import ERASE_JOB, Erasures
from treadle.data.erasing.subject import Matching, Subject, checked
from treadle.data.erasing.work import drop_cached, working_in
from treadle.data.tables import erased_contents, erasures
from treadle.kernel.entity import replace
from treadle.kernel.errors import Conflict
from treadle.kernel.stage import ERASE, JOB
from treadle.ports.content import LearntModel, Replacements
from treadle.ports.database import Scrubbed

MOST_ROUNDS = 5
"""Looks through everything until one finds nothing: rows may come in meanwhile."""
_quiet: Progress = lambda *_: None  # noqa: E731


class LocalErasures(Erasures):
    """Erasures of persons; with what only this process does."""

    def planned(
        self, subjects: list[Subject], project: str | None, progress: Progress = _quiet
    ) -> ErasurePlan:
        """Find where a person's rows are.

        Args:
            subjects: What identifies the person.
            project: Name of the project; None for all of the home.
            progress: Is told how far it is.

        Raises:
            Conflict: An erasure is looking through the home now.
        """
        return self._planned(subjects, project, progress)

    def begin(
        self, subjects: list[Subject], project: str | None, progress: Progress = _quiet
    ) -> Erasure:
        """Record an erasure that ``finish`` does here.

        Args:
            subjects: What identifies the person.
            project: Name of the project; None for all of the home.
            progress: Is told how far it is.

        Raises:
            NotFound: No such row is anywhere; nothing is recorded then.
            Conflict: An erasure is under way.
        """
        return self.get(erasure=self._begin(subjects, project, progress))

    def finish(self, erasure: str, progress: Progress = _quiet) -> Erasure:
        """Do an erasure, or what is left of it.

        Args:
            erasure: Its id.
            progress: Is told how far it is.

        Returns:
            The erasure, done.

        Raises:
            NotFound: There is no such erasure.
            Conflict: Rows come in faster than they are erased, or another process adds contents.
        """
        begun = self.get(erasure=erasure)
        if begun.state != "erasing":
            return begun
        subjects = checked(self._subjects(erasure))
        with working_in(self._cache) as folder:
            self._remove(erasure, progress)  # what it named no more when it was stopped
            broken: dict[str, str] = {}
            for _ in range(MOST_ROUNDS):
                found = self._looked(subjects, begun.project, folder, progress).without(broken)
                new, more = store_successors(self._blobs, found, subjects, folder, progress)
                broken |= more
                found = found.without(more)
                self._keep_left(erasure, found, subjects)
                if not found.any:
                    break
                self._erase(erasure, begun.project, subjects, found, new)
                self._remove(erasure, progress)
            else:
                raise Conflict(
                    f"Rows of the person come in faster than erasure '{erasure}' finds them. Stop "
                    "what writes them, and let it go on: treadle data erase --resume"
                )
            self._remove(erasure, progress)
            self._scrub()
            self._end(erasure)
            self._scrub()
        return self.get(erasure=erasure)

    def gone(self) -> list[str]:
        """The contents that erasures have removed."""
        with self._database.read() as connection:
            wanted = select(erased_contents.c.digest).distinct()
            return list(connection.scalars(wanted.order_by(erased_contents.c.digest)))

    @JOB(ERASE_JOB)
    def _work(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Do an erasure that was asked for from elsewhere."""
        return {"rows": self.finish(payload["erasure"]).rows}

    def _subjects(self, erasure: str) -> list[Subject]:
        with self._database.read() as connection:
            sealed = connection.scalar(select(erasures.c.sealed).where(erasures.c.id == erasure))
        return opened(self._keys(), sealed or "")

    def _keep_left(self, erasure: str, found: Found, subjects: list[Matching]) -> None:
        """Record what is about to be erased, so that a crash loses no count, and what is left."""
        known = self._result(erasure)
        places = known.with_places(places_without(found.places(), subjects))
        result = replace(known, places=places, left=left_without(found.left, subjects))
        with self._database.write() as transaction:
            save_result(transaction, erasure, result)

    def _erase(
        self,
        erasure: str,
        project: str | None,
        subjects: list[Matching],
        found: Found,
        new: Replacements,
    ) -> None:
        """Remove rows that are no contents; then let everything name the new contents, at once."""
        for answer in self._assembly.answers(ERASE):
            if answer.key == "remove":
                answer.method(subjects, project)
        models = self._learnt(found, project)
        gone = {*new, *found.held, *found.orphans}
        gone |= {file for tree in found.trees if tree in gone for file in found.trees[tree]}
        with self._database.write() as transaction:
            named = {old: one for old, one in new.items() if old in found.held}
            for answer in self._assembly.answers(ERASE):
                if answer.key == "replace":
                    answer.method(transaction, named, project)
                elif answer.key == "mark":
                    answer.method(transaction, erasure, models)
            told = replace_versions(transaction, erasure, named, project, self._clock.now())
            for event in told:
                self._events.append(transaction, event)
            note_erased(transaction, erasure, sorted(gone), project)
            save_result(transaction, erasure, self._with(erasure, new, gone, models))

    def _with(
        self, erasure: str, new: Replacements, gone: Iterable[str], models: list[LearntModel]
    ) -> Result:
        known = self._result(erasure)
        contents = [
            ErasedContent(old=old, new=new[old].digest if old in new else "")
            for old in sorted(gone)
        ]
        merged = {one.version: one for one in (*known.models, *models)}
        return replace(known, contents=[*known.contents, *contents], models=list(merged.values()))

    def _remove(self, erasure: str, progress: Progress) -> None:
        """Remove contents that nothing names any more."""
        digests = pending(self._database, erasure)
        if not digests:
            return
        left = digests
        for _ in range(MOST_ROUNDS):
            with self._database.write():  # nobody is in the middle of naming something
                now = time.time()
            unnamed = dict.fromkeys(left, 0)
            spare_named(self._assembly, self._blobs, unnamed, progress, noted=False)
            left = remove_contents(self._blobs, unnamed, now)
            if not left:  # others were added meanwhile: whether anything names them is asked again
                break
            time.sleep(1 + 2 * CLOCK_SECONDS - time.time() % 1)
        drop_cached(self._cache, digests)
        settle(self._database, erasure)

    def _end(self, erasure: str) -> None:
        """Record that it is done, and forget whose rows they were."""
        done = self.get(erasure=erasure)
        values = {"state": "done", "ended_at": self._clock.now(), "sealed": ""}
        with self._database.write() as transaction:
            same = erasures.update().where(erasures.c.id == erasure)
            transaction.execute(same.values(values))
            event = ErasureDone(
                erasure=erasure,
                project=done.project,
                fingerprints=done.fingerprints,
                places=done.places,
                contents=done.contents,
                models=[model.version for model in done.models],
                left=len(done.left),
            )
            self._events.append(transaction, event)

    def _scrub(self) -> None:
        """Leave no copy of removed rows in the database's own files."""
        if isinstance(self._database, Scrubbed):
            self._database.scrub()
