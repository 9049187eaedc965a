"""What every import does in the same way: experiments by name, runs in portions, files by content, and all of it counted."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from treadle.interop.report import ImportCounts, Imported, Progress
from treadle.ports.blobs import Blobs, digest_of
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import LONGEST_KEY, LONGEST_VALUE, Experiment, PastRun

RUNS_AT_ONCE = 200


class ImportSession:
    """One import into a home. It may be repeated: what is here already is left alone."""

    def __init__(
        self, source: str, tracking: LocalTracking, blobs: Blobs, progress: Progress
    ) -> None:
        self.tracking, self.blobs, self.progress = tracking, blobs, progress
        self.tally = ImportCounts(source)

    def experiment(
        self, name: str, *, tags: Mapping[str, str], place: str = "", deleted: bool = False
    ) -> Experiment:
        """Ours of that name, made if need be. ``place`` is kept where it is a store that is still there to be asked."""
        if name == "Default":
            self.tracking.ensure_default()
        for one in self.tracking.experiments(
            filter=f"name = '{name.replace(chr(39), chr(39) * 2)}'", view="all"
        ):
            if (one.deleted_at is not None) == deleted:
                return one
        elsewhere = place if "://" in place and not place.startswith("file:") else ""
        made = self.tracking.create_experiment(name=name, tags=dict(tags), artifacts_at=elsewhere)
        if deleted:
            self.tracking.delete_experiment(id=made.id)
        self.tally.counts["experiments"] += 1
        return made

    def runs(self, ids: Sequence[str], read: Callable[[list[str]], Iterable[PastRun]]) -> None:
        """Take in runs, a portion at a time; ``read`` gives those that are not here yet."""
        for at in range(0, len(ids), RUNS_AT_ONCE):
            some = ids[at : at + RUNS_AT_ONCE]
            new = sorted(set(some) - self.tracking.known(some))
            past = list(read(new))
            self.tally.counts["runs"] += self.tracking.add_history(
                source=self.tally.source, runs=past
            )
            self.tally.counts["runs_here_already"] += len(some) - len(new)
            self.progress("runs", min(at + RUNS_AT_ONCE, len(ids)), len(ids))

    def file(self, root: str, path: str, content: Path | bytes) -> None:
        """Put a file below an artifact root."""
        digest = self.blobs.put(content)
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self.tracking.put_artifact(root=root, path=path, digest=digest, bytes=size)
        self.tally.counts["artifacts"] += 1

    def folder(self, root: str, uri: str) -> None:
        """Put the files of a folder on this machine's disk below a root; those in a store elsewhere stay there, and are still found."""
        if not uri:  # nothing was ever kept
            return
        folder = local_folder(uri)
        if folder is None:
            self.tally.left[
                "folders of artifacts that are in a store elsewhere (they stay there)"
            ] += 1
            return
        here = {file.path for file in self.tracking.artifacts_at(root)}
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in here:
                self.file(root, name, path)

    def fits(self, key: str) -> bool:
        """Whether a name can be kept."""
        if not key or len(key) > LONGEST_KEY or "\0" in key:
            self.tally.left[f"names that are empty, or longer than {LONGEST_KEY} characters"] += 1
            return False
        return True

    def texts(self, given: Mapping[str, str]) -> dict[str, str]:
        """Parameters or tags that can be kept."""
        found = {}
        for key, value in given.items():
            if not self.fits(key):
                continue
            if len(value) > LONGEST_VALUE or "\0" in value:
                self.tally.left["values longer than 1 MiB"] += 1
            else:
                found[key] = value
        return found

    def report(self) -> Imported:
        return self.tally.report()


def run_id(project: str, run: str) -> str:
    """What a run is called here whose id is its own in its project only: no two of them are called the same."""
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in run)
    return f"{plain[-47:]}-{digest_of(f'{project}{chr(0)}{run}'.encode())[:16]}"


def local_folder(uri: str) -> Path | None:
    """The folder that an artifact's URI names on this machine's disk; None for one elsewhere, and for no URI."""
    if not uri:
        return None
    if uri.startswith("file:"):
        return Path(unquote(urlsplit(uri).path))
    return None if "://" in uri or ":/" in uri else Path(uri)
