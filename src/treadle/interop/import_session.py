"""Imports experiments, runs and files in the way that all importers share, and counts them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.interop.report import ImportCounts, Imported, Progress
from treadle.ports.blobs import Blobs, digest_of
from treadle.tracking.language import literal
from treadle.tracking.limits import LONGEST_KEY, LONGEST_VALUE
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Experiment, PastRun

RUNS_AT_ONCE = 200


class ImportSession:
    """An import into a home. It may be repeated: what the home holds already is left alone.

    Args:
        source: What is imported, as it is named in the report.
        tracking: Where experiments and runs go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.

    Attributes:
        tally: Counts of what was imported and what was left behind.
    """

    def __init__(
        self, source: str, tracking: LocalTracking, blobs: Blobs, progress: Progress
    ) -> None:
        self.tracking, self.blobs, self.progress = tracking, blobs, progress
        self.tally = ImportCounts(source)

    def experiment(
        self, name: str, *, tags: Mapping[str, str], place: str = "", deleted: bool = False
    ) -> Experiment:
        """Return the home's experiment of a name; create it where there is none.

        Args:
            name: The experiment's name.
            tags: Tags of the experiment, where it is created.
            place: The URI of its artifacts in the source; kept where it names a store elsewhere.
            deleted: Whether the experiment is deleted in the source.
        """
        if name == "Default":
            self.tracking.ensure_default()
        for known in self.tracking.experiments(filter=f"name = {literal(name)}", view="all"):
            if (known.deleted_at is not None) == deleted:
                return known
        elsewhere = place if "://" in place and not place.startswith("file:") else ""
        made = self.tracking.create_experiment(name=name, tags=dict(tags), artifacts_at=elsewhere)
        if deleted:
            self.tracking.delete_experiment(id=made.id)
        self.tally.counts["experiments"] += 1
        return made

    def runs(self, ids: Sequence[str], read: Callable[[list[str]], Iterable[PastRun]]) -> None:
        """Import runs, a portion at a time.

        Args:
            ids: Every run's id in this home.
            read: Reads the runs of the given ids; it is called with those that are not here yet.
        """
        for first in range(0, len(ids), RUNS_AT_ONCE):
            portion = ids[first : first + RUNS_AT_ONCE]
            new = sorted(set(portion) - self.tracking.known(portion))
            past = list(read(new))
            self.tally.counts["runs"] += self.tracking.add_history(
                source=self.tally.source, runs=past
            )
            self.tally.counts["runs_here_already"] += len(portion) - len(new)
            self.progress("runs", min(first + RUNS_AT_ONCE, len(ids)), len(ids))

    def file(self, root: str, path: str, content: Path | bytes) -> None:
        """Store a file below an artifact root.

        Args:
            root: The artifact root, such as that of a run.
            path: The file's path below it, with forward slashes.
            content: The file on this disk, or its content.
        """
        digest = self.blobs.put(content)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.tracking.put_artifact(root=root, path=path, digest=digest, bytes=size)
        self.tally.counts["artifacts"] += 1

    def folder(self, root: str, uri: str) -> None:
        """Store the files of a folder below an artifact root.

        Files in a store elsewhere stay there, and are counted as left behind.

        Args:
            root: The artifact root, such as that of a run.
            uri: The folder's path or URI; empty where there are no files.
        """
        if not uri:
            return
        folder = local_folder(uri)
        if folder is None:
            elsewhere = "folders of artifacts that are in a store elsewhere (they stay there)"
            self.tally.left[elsewhere] += 1
            return
        here = {file.path for file in self.tracking.artifacts_at(root)}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in here:
                self.file(root, name, path)

    def fits(self, key: str) -> bool:
        """Whether a name can be kept; one that cannot is counted as left behind.

        Args:
            key: The name of a parameter, a tag or a metric.
        """
        if not key or len(key) > LONGEST_KEY or "\0" in key:
            self.tally.left[f"names that are empty, or longer than {LONGEST_KEY} characters"] += 1
            return False
        return True

    def texts(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the parameters or tags that can be kept; the others are counted as left behind.

        Args:
            given: Values by name.
        """
        kept = {}
        for key, value in given.items():
            if not self.fits(key):
                continue
            if len(value) > LONGEST_VALUE or "\0" in value:
                self.tally.left["values longer than 1 MiB"] += 1
            else:
                kept[key] = value
        return kept

    def report(self) -> Imported:
        """Return the counts of the import so far."""
        return self.tally.report()


def run_id(project: str, run: str) -> str:
    """Return the id in this home of a run whose id is unique in its project only.

    Args:
        project: The project's name in the source.
        run: The run's id there.
    """
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in run)
    return f"{plain[-47:]}-{digest_of(f'{project}{chr(0)}{run}'.encode())[:16]}"


def local_folder(uri: str) -> Path | None:
    """Return the folder on this machine's disk that a URI of artifacts names.

    Args:
        uri: A path, a URI, or nothing.

    Returns:
        The folder; None for a store elsewhere, and for no URI.
    """
    if not uri:
        return None
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or ":/" in uri else Path(uri)
