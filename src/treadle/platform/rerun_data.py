"""The data that a script has read, laid out again around its code."""

import os
from pathlib import Path

from treadle.kernel.errors import Conflict
from treadle.ports.blobs import Blobs
from treadle.ports.tree import fetch_tree, read_tree, tree_digest
from treadle.recording.uploader import KEPT
from treadle.tracking.model import Dataset


class RunData:
    """The datasets of a run of a script, in the folder that holds them and the code.

    That folder is laid out again elsewhere as it was, so a path such as ``../data/train.csv`` leads
    to the data there too.

    Args:
        blobs: Where content that was kept is stored.
        run: The run's id, as it is named in errors.
        datasets: The datasets that the run has read.
        root: The folder of the code; empty where it is not known.
        required: Whether data that are gone and were not kept are an error.
    """

    def __init__(
        self, blobs: Blobs, run: str, datasets: list[Dataset], root: str, *, required: bool
    ) -> None:
        self._blobs, self._run, self._root, self._required = blobs, run, root, required
        sources = [path for each in datasets if (path := _local(each))]
        self._origin = Path(os.path.commonpath([root or "/", *sources]))

    def moved(self, path: Path, to: Path) -> Path:
        """Return where a path of the run is in the folder's new place.

        Args:
            path: The absolute path, of the code's folder or of a dataset.
            to: The folder's new place.
        """
        return to / path.relative_to(self._origin)

    def placed(self, dataset: Dataset, to: Path) -> list[str]:
        """Put a dataset where the script looks for it, or say why that cannot be.

        Args:
            dataset: The dataset.
            to: The new place of the folder that holds code and data.

        Returns:
            What to know about the data that the script reads now.

        Raises:
            Conflict: The data are required and gone, and were not kept.
            NotFound: A blob of data that were kept is not stored any more.
        """
        source = _local(dataset)
        if source is None:
            return [f"Dataset '{dataset.name}' is read from '{dataset.source}'."]
        target, kept = self.moved(source, to), dataset.tags.get(KEPT) == "yes"
        inside = self._root != "" and source.is_relative_to(self._root)
        if kept:
            files = list(read_tree(self._blobs, dataset.digest).files)
            folder = target.parent if files == [source.name] else target
            fetch_tree(self._blobs, dataset.digest, folder, over=inside)
        elif source.exists() and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source)
        return [] if kept and inside else self._changes(dataset, source, kept=kept)

    def _changes(self, dataset: Dataset, source: Path, *, kept: bool) -> list[str]:
        """What has become of a dataset that the script may read where it was."""
        by_path = "what was kept is read by a relative path"
        if not source.exists():
            gone = f"Dataset '{dataset.name}' is not at '{source}' any more"
            if not kept and self._required:
                raise Conflict(
                    f"Run '{self._run}' cannot be run again. The data that it reads are gone: "
                    f"{gone}, and its content was not kept."
                )
            return [f"{gone}: {by_path} alone." if kept else f"{gone}."]
        if tree_digest(source) != dataset.digest:
            read = f"{by_path}, what is there now by an absolute one."
            return [
                f"Dataset '{dataset.name}' at '{source}' has changed since: "
                f"{read if kept else 'what is there now was read.'}"
            ]
        return []


def _local(dataset: Dataset) -> Path | None:
    """Where a dataset was on the disk; None for one that came from elsewhere."""
    source = Path(dataset.source)
    return source if source.is_absolute() else None
