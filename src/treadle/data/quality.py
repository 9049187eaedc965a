"""Profiles, checks and compares dataset versions; looks for leaks and personal data in them."""

import tempfile
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from treadle.data.admission import Admission, standing
from treadle.data.check_report import CheckReport, FailedChecks
from treadle.data.check_suggestions import checks_toml, infer_checks
from treadle.data.checks import Surroundings, check_table
from treadle.data.leakage import LeakReport, find_leaks
from treadle.data.model import DatasetVersion
from treadle.data.personal import PersonalReport, find_personal
from treadle.data.reads import SensitiveReads
from treadle.data.service import Data
from treadle.data.table_diff import TableDiff, diff_tables
from treadle.data.table_profile import TableProfile, profile_table
from treadle.data.version_names import require
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.errors import NotFound
from treadle.kernel.names import ContentDigest, ProjectName
from treadle.kernel.operation import query
from treadle.ports.blobs import Blobs
from treadle.ports.tree import fetch_tree
from treadle.scope.local import LocalScope
from treadle.scope.model import DataSource

PROFILES_KEPT = 32
"""Profiles that are kept in memory, by the digest of their version."""


class Quality:
    """Profiles, checks, comparisons and leaks of dataset versions.

    What is shown of a sensitive dataset counts as a read of it.
    """

    def __init__(
        self,
        data: Data,
        blobs: Blobs,
        clock: Clock,
        scope: LocalScope,
        reads: SensitiveReads,
        admission: Admission,
        events: LocalEvents,
    ) -> None:
        self._data, self._blobs, self._clock = data, blobs, clock
        self._scope, self._reads, self._admission = scope, reads, admission
        self._events = events
        self._lock = Lock()
        self._profiles: OrderedDict[str, TableProfile] = OrderedDict()

    @query(reads_rows=True)
    def profile(self, *, project: ProjectName, name: str, digest: ContentDigest) -> TableProfile:
        """Show what each column of a dataset version holds.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits.

        Raises:
            NotFound: There is no such version.
            Invalid: It cannot be read as a table of CSV or Parquet files.
        """
        self._read(project, name, digest)
        with self._lock:
            known = self._profiles.get(digest)
        if known is not None:
            return known
        with tempfile.TemporaryDirectory() as folder:
            profile = profile_table(self._fetched(digest, folder))
        with self._lock:
            self._profiles[digest] = profile
            while len(self._profiles) > PROFILES_KEPT:
                self._profiles.popitem(last=False)
        return profile

    @query(reads_rows=True)
    def check(
        self, *, project: ProjectName, name: str, digest: ContentDigest | None = None
    ) -> CheckReport:
        """Check a dataset version against what ``treadle.toml`` expects of the dataset.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits; the newest version if omitted.

        Returns:
            What each expectation has found, whether or not it holds.

        Raises:
            NotFound: There is no such version, or what a check compares it with does not exist.
            Invalid: It cannot be read as a table, or a check cannot be made.
        """
        digest = digest or self._newest(project, name).digest
        self._read(project, name, digest)
        checks = self._declared(project, name).checks
        named = {check.references.partition(".")[0] for check in checks if check.references}
        with tempfile.TemporaryDirectory() as folder:
            datasets = {}
            for other in named:
                version = self._newest(project, other)
                self._reads.note(version.digest, way="quality")
                datasets[other] = self._fetched(version.digest, folder)
            surroundings = Surroundings(
                self._clock.now(),
                datasets,
                self._admission.references(project, name, checks, Path(folder), but=digest),
            )
            return check_table(self._fetched(digest, folder), checks, surroundings)

    @query()
    def failures(self, *, project: ProjectName) -> list[FailedChecks]:
        """List the datasets whose newest version was taken although checks of its rows failed.

        Args:
            project: Name of the project.

        Raises:
            NotFound: There is no such project.
        """
        declared = self._scope.project(name=project).spec.data
        failed = [
            standing(self._events, project, name) for name, data in declared.items() if data.checks
        ]
        return [
            FailedChecks(dataset=one.dataset, checks=one.checks, quarantined=one.quarantined)
            for one in failed
            if one is not None
        ]

    @query(reads_rows=True)
    def diff(
        self,
        *,
        project: ProjectName,
        name: str,
        old: ContentDigest,
        new: ContentDigest,
        by: list[str] | None = None,
    ) -> TableDiff:
        """Compare two versions of a dataset row by row.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            old: Digest of one version, 64 hex digits.
            new: Digest of the other version.
            by: Columns that name a row; whole rows are compared if omitted.

        Raises:
            NotFound: There is no such version.
            Invalid: A version cannot be read as a table, a key column is missing, or keys repeat.
        """
        for digest in (old, new):
            self._read(project, name, digest)
        with tempfile.TemporaryDirectory() as folder:
            return diff_tables(
                self._fetched(old, folder), self._fetched(new, folder), by=list(by or [])
            )

    @query(reads_rows=True)
    def suggest(self, *, project: ProjectName, name: str, digest: ContentDigest) -> str:
        """Propose checks that a good version passes, with slack.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the good version, 64 hex digits.

        Returns:
            TOML for ``treadle.toml``.

        Raises:
            NotFound: There is no such version.
            Invalid: It cannot be read as a table.
        """
        profile = self.profile(project=project, name=name, digest=digest)
        return checks_toml(name, infer_checks(profile))

    @query(reads_rows=True)
    def leaks(
        self,
        *,
        project: ProjectName,
        name: str,
        digest: ContentDigest,
        holdout: ContentDigest | None = None,
    ) -> LeakReport:
        """Look in a dataset version for what a model must not learn.

        That is features that tell the label or the future, and rows that are in the holdout, too.
        The label, the time and the id of rows are those that ``treadle.toml`` declares.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits.
            holdout: Digest of the rows that models are judged on: a version of any dataset of the
                project.

        Raises:
            NotFound: There is no such version.
            Invalid: It cannot be read as a table, or a declared column is missing.
        """
        self._read(project, name, digest)
        if holdout is not None:
            self._read(project, None, holdout)
        source = self._declared(project, name)
        with tempfile.TemporaryDirectory() as folder:
            return find_leaks(
                self._fetched(digest, folder),
                label=source.label,
                time=source.time,
                ignored=[source.id] if source.id else [],
                holdout=self._fetched(holdout, folder) if holdout else None,
            )

    @query(reads_rows=True)
    def personal(self, *, project: ProjectName, name: str, digest: ContentDigest) -> PersonalReport:
        """Look for personal data in a dataset version.

        Args:
            project: Name of the project.
            name: Name of the dataset.
            digest: Digest of the version, 64 hex digits.

        Returns:
            The columns that seem to hold some, with masked examples.

        Raises:
            NotFound: There is no such version.
            Invalid: It cannot be read as a table.
        """
        self._read(project, name, digest)
        with tempfile.TemporaryDirectory() as folder:
            return find_personal(self._fetched(digest, folder))

    def _declared(self, project: str, name: str) -> DataSource:
        """What the project declares of a dataset; nothing of one that is not declared."""
        try:
            declared = self._scope.project(name=project).spec.data
        except NotFound:  # datasets need no declared project
            declared = {}
        return declared.get(name, DataSource(source=name))

    def _newest(self, project: str, name: str) -> DatasetVersion:
        versions = self._data.versions(project=project, name=name)
        if not versions:
            raise NotFound(
                f"Dataset '{name}' of project '{project}' has no version yet. "
                "'treadle run' takes those that treadle.toml names."
            )
        return versions[0]

    def _read(self, project: str, name: str | None, digest: str) -> None:
        """Refuse what is no version of the dataset; what is, is noted as read."""
        require(self._data.versions(project=project, name=name), project, name, digest)
        self._reads.note(digest, way="quality")

    def _fetched(self, digest: str, folder: str) -> Path:
        return fetch_tree(self._blobs, digest, Path(folder, digest))
