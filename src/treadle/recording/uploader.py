"""Sends what a run's spool holds, each thing exactly once, however often it has to be tried."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Protocol, cast

from treadle.kernel.entity import Entity, fields, replace
from treadle.kernel.errors import Conflict, Invalid, NotFound, TooLarge
from treadle.kernel.process import hold, is_held, release
from treadle.ports.blobs import Blobs, asked_for
from treadle.ports.tree import files_digest, put_files, put_tree, read_tree
from treadle.recording.lines import KeptFile, KeptTree, UsedData
from treadle.recording.outbox import Outbox, Parcel
from treadle.tracking.model import Batch
from treadle.tracking.segments import pack_arrays
from treadle.tracking.service import Tracking

REFUSALS = (Invalid, Conflict, NotFound, TooLarge)
"""Errors that trying again does not mend; any other leaves the spool as it is."""

KEPT = "treadle.kept"
"""A dataset's tag that says whether its content is in the blobs."""


class Store(Protocol):
    """Where runs are sent: an embedded home or a server.

    Attributes:
        tracking: Receives runs, metrics and artifacts.
        blobs: Receives the content of files.
    """

    blobs: Blobs

    @property
    def tracking(self) -> Tracking:
        """Where runs are recorded."""
        ...


class Synced(Entity):
    """What became of one run's spool.

    Attributes:
        run: Id of the run.
        points: Number of points that were sent.
        finished: Whether everything is sent and the run has ended.
        refused: Why some things were refused for good.
    """

    run: str
    points: int
    finished: bool
    refused: list[str]


class Uploader:
    """Sends what one recorder has written, including what its forked and spawned processes have.

    The recorder's folder is ``RUN.TOKEN``; those of its other processes are
    ``RUN.TOKEN.PID-TOKEN``.

    Args:
        root: The spool.
        name: Name of the recorder's folder.

    Attributes:
        run: Id of the run.
        points: Number of points sent so far.
        last_delivery: When something was delivered last, in seconds of the monotonic clock.
        sending_bytes: Size of the content that is being sent.

    Raises:
        Conflict: Another process sends this folder.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.last_delivery = monotonic()
        self.sending_bytes = 0
        self._root = root
        self._name = name
        self.run = name.partition(".")[0]
        self._boxes: dict[Path, Outbox] = {}
        self._held = hold(root / name / "sending", what=f"The spool '{name}'")
        self.points = 0

    def send_next(self, store: Store) -> bool:
        """Send the next parcel of each process of the run.

        What the store refuses for good is noted in ``refused``. Other errors are raised, and the
        same parcel can be sent again.

        Args:
            store: Where to send it.

        Returns:
            Whether there was anything to send.

        Raises:
            Unavailable: The store does not answer.
        """
        return sum(self._send(box, store) for box in self._outboxes()) > 0

    @property
    def waiting(self) -> int:
        """Number of points that are not sent yet, without those in packed pieces."""
        return sum(box.waiting for box in self._outboxes())

    @property
    def refused(self) -> list[str]:
        """Why some things were refused for good."""
        return [reason for box in self._outboxes() for reason in box.sent.refused]

    @property
    def finished(self) -> bool:
        """Whether no process of the run writes any more and everything is sent."""
        return all(box.finished for box in self._outboxes())

    def close(self) -> None:
        """Release the spool, and remove it when everything is delivered and nothing was refused."""
        delivered = self.finished and not self.refused
        release(self._held)
        if delivered:
            # The run's own folder goes last: it says that something is left.
            for box in reversed(self._outboxes()):
                box.discard()

    def _outboxes(self) -> list[Outbox]:
        """The outboxes of all processes of the run that have begun to write, its own first."""
        own = self._root / self._name
        for folder in [own, *sorted(self._root.glob(f"{self._name}.*"))]:
            if folder not in self._boxes and (folder / "facts.jsonl").exists():
                self._boxes[folder] = Outbox(folder)
        return list(self._boxes.values())

    def _send(self, box: Outbox, store: Store) -> bool:
        parcel = box.next()
        if parcel is None:
            return False
        refused: list[str] = []

        def attempt(what: str, deliver: Callable[..., object], **arguments: object) -> None:
            try:
                deliver(**arguments)
            except REFUSALS as error:
                refused.append(f"{what}: {error.message}")
            self.last_delivery = monotonic()

        self._deliver(box, parcel, store, attempt)
        self.points += sum(map(len, parcel.points.values()))
        box.done(refused)
        return True

    def _deliver(
        self, box: Outbox, parcel: Parcel, store: Store, attempt: Callable[..., None]
    ) -> None:
        """Send a parcel; all but its points may be sent again, and the points are numbered."""
        tracking = store.tracking
        run = self.run
        for begin in (line.begin for line in parcel.lines if line.begin):
            attempt("The run", tracking.start_run, id=run, **fields(begin))
        if parcel.points:
            pieces = {key: pack_arrays(points) for key, points in parcel.points.items()}
            batch = Batch(run=run, points=pieces, stream=box.stream, sequence=parcel.number)
            attempt(f"{len(pieces)} metrics", tracking.write, batches=[batch])
        if params := {key: value for line in parcel.lines for key, value in line.params.items()}:
            attempt("Parameters", tracking.log, run=run, params=params)
        if tags := {key: value for line in parcel.lines for key, value in line.tags.items()}:
            attempt("Tags", tracking.log, run=run, tags=tags)
        contents = _Contents(asked_for(store.blobs, run=run), self)
        target: dict[str, Any] = {"store": store, "run": run, "contents": contents}
        files = box.folder / "files"
        for line in parcel.lines:
            if file := line.file:
                attempt(f"File '{file.path}'", _put_file, **target, files=files, file=file)
            if tree := line.tree:
                attempt(f"Folder '{tree.path}'", _put_folder, **target, files=files, tree=tree)
            if used := line.data:
                attempt(f"Dataset '{used.dataset.name}'", _use_data, **target, used=used)
        for end in (line.end for line in parcel.lines if line.end):
            attempt("The end", tracking.change_run, run=run, **fields(end))


def spooled(root: Path) -> list[str]:
    """The recorders that have something left in a spool, by the names of their folders.

    Args:
        root: The spool.
    """
    folders = root.iterdir() if root.is_dir() else ()
    begun = (folder.name for folder in folders if (folder / "facts.jsonl").exists())
    return sorted({".".join(name.split(".")[:2]) for name in begun})


def is_sending(root: Path, name: str) -> bool:
    """Whether a living process sends or writes a recorder's folder.

    Args:
        root: The spool.
        name: Name of the recorder's folder.
    """
    return any(is_held(root / name / lock) for lock in ("sending", "writing"))


class _Contents:
    """Stores the contents of one run's files, and tells its uploader of each.

    Args:
        blobs: Where to store them.
        uploader: Told how large what is sent is, and when it has arrived.
    """

    def __init__(self, blobs: Blobs, uploader: Uploader) -> None:
        self.blobs, self._uploader = blobs, uploader

    def put(self, content: bytes | Path) -> str:
        """Store one content.

        Args:
            content: The content, or a file that holds it.

        Returns:
            The content's digest.
        """
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        self._uploader.sending_bytes = size
        try:
            digest = self.blobs.put(content)
        finally:
            self._uploader.sending_bytes = 0
        self._uploader.last_delivery = monotonic()
        return digest

    def put_files(self, files: dict[str, Path | bytes]) -> str:
        """Store files as a tree; nothing is sent where the same tree is there, as that of code is.

        Args:
            files: Files by their paths within the tree.

        Returns:
            The digest of the tree.
        """
        digest = files_digest(files)
        return digest if self.blobs.has(digest) else put_files(cast(Blobs, self), files)


def _put_file(store: Store, run: str, contents: _Contents, files: Path, file: KeptFile) -> None:
    digest = contents.put(files / file.copy)
    store.tracking.add_artifact(run=run, path=file.path, digest=digest, bytes=file.bytes)


def _put_folder(store: Store, run: str, contents: _Contents, files: Path, tree: KeptTree) -> None:
    digest = contents.put_files({path: files / copy for path, copy in tree.files.items()})
    size = read_tree(contents.blobs, digest).bytes
    store.tracking.add_artifact(run=run, path=tree.path, digest=digest, bytes=size)


def _use_data(store: Store, run: str, contents: _Contents, used: UsedData) -> None:
    """Record the data, and store its content where that is still what the run has read."""
    dataset = used.dataset
    source = Path(used.source)
    kept = bool(used.source) and source.exists()
    kept = kept and put_tree(cast(Blobs, contents), source) == dataset.digest
    tags = dataset.tags | {KEPT: "yes" if kept else "no"}
    store.tracking.use_data(run=run, datasets=[replace(dataset, tags=tags)])
