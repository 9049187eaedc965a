"""Attaches files to a run, and the data that it reads: copied first, so that they may change."""

from pathlib import Path
from typing import Any

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, NotFound
from treadle.ports.tree import tree_digest
from treadle.recording import media
from treadle.recording.lines import KeptFile, KeptTree, Line, UsedData
from treadle.recording.run_facts import RunFacts
from treadle.tracking.model import Dataset


class RunAttachments(RunFacts):
    """Files of a run and the data that it reads, as one process attaches them."""

    def log_artifact(self, source: str | Path, to: str = "") -> None:
        """Attach a file, or all files of a folder, as they are now.

        Args:
            source: The file or folder.
            to: Path among the run's artifacts below which to attach them.

        Raises:
            NotFound: There is no such file or folder.
            Invalid: The path among the artifacts is malformed.
            Conflict: The run has ended.
        """
        source = Path(source)
        if not source.exists():
            raise NotFound(f"There is no file or folder at '{source}'.")
        if source.is_file():
            files = {source.name: source}
        else:
            paths = sorted(path for path in source.rglob("*") if path.is_file())
            files = {path.relative_to(source).as_posix(): path for path in paths}
        folder = to.strip("/")
        for name, file in files.items():
            self._attach(f"{folder}/{name}" if folder else name, file)

    def log_text(self, text: str, path: str) -> None:
        """Attach text as a file.

        Args:
            text: Content of the file.
            path: Path among the run's artifacts, such as ``notes/plan.md``.

        Raises:
            Invalid: The path is malformed.
            Conflict: The run has ended.
        """
        self._attach(path, text.encode())

    def log_json(self, value: object, path: str) -> None:
        """Attach a value as a JSON file.

        Args:
            value: A value that JSON can hold.
            path: Path among the run's artifacts.

        Raises:
            Invalid: The path is malformed.
            Conflict: The run has ended.
        """
        self._attach(path, to_json(value))

    def log_figure(self, figure: Any, path: str) -> None:
        """Attach a figure.

        Args:
            figure: Figure of matplotlib or plotly.
            path: Path among the run's artifacts; its suffix is ``.png``, ``.svg`` or ``.pdf`` for
                matplotlib, ``.html`` or ``.json`` for plotly.

        Raises:
            Invalid: The path is malformed, or the figure cannot be encoded in that format.
            Conflict: The run has ended.
        """
        self._attach(path, media.figure(figure, Path(path).suffix))

    def log_image(self, image: Any, path: str) -> None:
        """Attach an image. Needs the extra ``media``.

        Args:
            image: Pillow image, or array of shape (height, width) or (height, width, channels) with
                1, 3 or 4 channels: whole numbers from 0 to 255, or floats from 0 to 1.
            path: Path among the run's artifacts; its suffix names the format, such as ``.png``.

        Raises:
            Invalid: The path or the shape is wrong, the format is unknown, or the extra is not
                installed.
            Conflict: The run has ended.
        """
        self._attach(path, media.image(image, Path(path).suffix))

    def log_audio(self, samples: Any, path: str, *, rate: int) -> None:
        """Attach sound as a WAV file.

        Args:
            samples: Array of shape (frames,) or (frames, channels): floats from -1 to 1, or 16-bit
                integers.
            path: Path among the run's artifacts.
            rate: Sampling rate in Hz.

        Raises:
            Invalid: The path or the shape is wrong.
            Conflict: The run has ended.
        """
        self._attach(path, media.audio(samples, rate))

    def log_table(self, table: Any, path: str) -> None:
        """Attach a table.

        Args:
            table: A frame, a list of dicts, or a dict of lists.
            path: Path among the run's artifacts; its suffix is ``.parquet`` or ``.json``.

        Raises:
            Invalid: The path is malformed, the format is unknown, or the value is not a table.
            Conflict: The run has ended.
        """
        self._attach(path, media.table(table, Path(path).suffix))

    def use_data(
        self, source: str | Path, *, name: str = "", context: str = "training", keep: bool = True
    ) -> str:
        """Record that this run reads a file or folder, identified by its content.

        Args:
            source: The file or folder.
            name: Name of the dataset; the name of the file without its suffix if empty.
            context: What the run reads the data for, such as ``training``.
            keep: Whether to store the content, so that the run can be repeated after the file has
                changed.

        Returns:
            The digest of the content, 64 hex digits.

        Raises:
            NotFound: There is no such file or folder.
            Conflict: The run has ended.
        """
        path = Path(source).resolve()
        digest = tree_digest(path)
        dataset = Dataset(
            name=name or path.stem,
            digest=digest,
            source_type="local",
            source=str(path),
            context=context,
        )
        self._mine().add(Line(data=UsedData(dataset=dataset, source=str(path) if keep else "")))
        return digest

    def _attach(self, path: str, content: Path | bytes) -> None:
        path = path.strip("/")
        if not path or ".." in Path(path).parts or "\0" in path or len(path) > 1000:
            raise Invalid(
                f"'{path[:80]}' is no path of an artifact. "
                "Give a relative one without '..', such as 'plots/loss.png'."
            )
        writer = self._mine()
        copy = writer.copy(content)
        size = (writer.folder / "files" / copy).stat().st_size
        writer.add(Line(file=KeptFile(path=path, copy=copy, bytes=size)))

    def _attach_folder(self, path: str, files: dict[str, Path]) -> None:
        """Attach files as one folder, which is one artifact."""
        copies = {name: self._mine().copy(file) for name, file in files.items()}
        self._mine().add(Line(tree=KeptTree(path=path, files=copies)))
