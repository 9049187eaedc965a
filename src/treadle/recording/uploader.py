"""Sends what a run's spool holds, each thing once, however often it has to be tried."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from treadle.kernel.entity import Entity, fields, replace
from treadle.kernel.errors import Conflict, Invalid, NotFound, TooLarge
from treadle.kernel.process import hold, is_held, release
from treadle.ports.blobs import Blobs
from treadle.ports.tree import put_files, put_tree, read_tree
from treadle.recording.spool import KeptFile, KeptTree, Outbox, Parcel, UsedData
from treadle.tracking.model import Batch
from treadle.tracking.segments import pack_arrays
from treadle.tracking.service import Tracking

REFUSALS = (Invalid, Conflict, NotFound, TooLarge)
"""What trying again does not mend; anything else leaves the spool as it is."""

KEPT = "treadle.kept"
"""A dataset's tag that says whether its content is in the blobs."""


class Store(Protocol):
    """Where runs go: an embedded home or a server."""

    blobs: Blobs

    @property
    def tracking(self) -> Tracking:
        """Where runs are recorded."""
        ...


class Synced(Entity):
    """What became of one run's spool."""

    run: str
    points: int
    finished: bool
    refused: list[str]


class Uploader:
    """Sends what one recorder wrote: its folder ``RUN.TOKEN``, and those of its other processes, ``RUN.TOKEN.PID-TOKEN``."""

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._name, self.run = root, name, name.partition(".")[0]
        self._boxes: dict[Path, Outbox] = {}
        self._held = hold(root / name / "sending", what=f"The spool '{name}'")
        self.points = 0

    def send_next(self, store: Store) -> bool:
        """Send the next parcel of each folder. Returns whether there was any. Raises what may be over later, such as Unavailable."""
        return sum(self._send(box, store) for box in self._found()) > 0

    @property
    def waiting(self) -> int:
        return sum(box.waiting for box in self._found())

    @property
    def refused(self) -> list[str]:
        return [reason for box in self._found() for reason in box.sent.refused]

    @property
    def finished(self) -> bool:
        return all(box.finished for box in self._found())

    def close(self) -> None:
        """Let go of the spool, and remove what is delivered for good."""
        delivered = self.finished and not self.refused
        release(self._held)
        if delivered:
            for box in self._found()[
                ::-1
            ]:  # children first: the run's own folder says that there is something left
                box.discard()

    def _found(self) -> list[Outbox]:
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

        self._deliver(box, parcel, store, attempt)
        self.points += sum(map(len, parcel.points.values()))
        box.done(refused)
        return True

    def _deliver(
        self, box: Outbox, parcel: Parcel, store: Store, attempt: Callable[..., None]
    ) -> None:
        """Everything but the points may be repeated; they are numbered."""
        tracking, run, files = store.tracking, self.run, box.folder / "files"
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
        for line in parcel.lines:
            if line.file:
                attempt(
                    f"File '{line.file.path}'",
                    _put_file,
                    store=store,
                    run=run,
                    files=files,
                    file=line.file,
                )
            if line.tree:
                attempt(
                    f"Folder '{line.tree.path}'",
                    _put_folder,
                    store=store,
                    run=run,
                    files=files,
                    tree=line.tree,
                )
            if line.data:
                attempt(
                    f"Dataset '{line.data.dataset.name}'",
                    _use_data,
                    store=store,
                    run=run,
                    used=line.data,
                )
        for end in (line.end for line in parcel.lines if line.end):
            attempt("The end", tracking.change_run, run=run, **fields(end))


def spooled(root: Path) -> list[str]:
    """The recorders that left something in a spool, by the names of their folders."""
    folders = root.iterdir() if root.is_dir() else ()
    return sorted(
        {".".join(one.name.split(".")[:2]) for one in folders if (one / "facts.jsonl").exists()}
    )


def is_sending(root: Path, name: str) -> bool:
    """Whether a living process sends, or still writes, a recorder's folder."""
    return any(is_held(root / name / lock) for lock in ("sending", "writing"))


def _put_file(store: Store, run: str, files: Path, file: KeptFile) -> None:
    digest = store.blobs.put(files / file.copy)
    store.tracking.add_artifact(run=run, path=file.path, digest=digest, bytes=file.bytes)


def _put_folder(store: Store, run: str, files: Path, tree: KeptTree) -> None:
    digest = put_files(store.blobs, {path: files / copy for path, copy in tree.files.items()})
    size = read_tree(store.blobs, digest).bytes
    store.tracking.add_artifact(run=run, path=tree.path, digest=digest, bytes=size)


def _use_data(store: Store, run: str, used: UsedData) -> None:
    """Note the data; its content is kept as well where it is still what the run read."""
    dataset, source = used.dataset, Path(used.source)
    kept = bool(used.source) and source.exists() and put_tree(store.blobs, source) == dataset.digest
    tags = dataset.tags | {KEPT: "yes" if kept else "no"}
    store.tracking.use_data(run=run, datasets=[replace(dataset, tags=tags)])
