"""Imports offline runs of Weights & Biases.

A run is a file ``wandb/offline-run-…/run-ID.wandb`` with a folder ``files`` beside it. The file is
a LevelDB log (blocks of 32 KiB; records in chunks, each behind a checksum) of protobuf messages,
of which only the few fields are read that describe the run. A file that ends in the middle of a
record is that of a run that was killed; everything before that record is imported.
"""

import json
import math
import struct
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from treadle.interop.import_session import ImportSession, run_id
from treadle.interop.report import Imported, Progress
from treadle.kernel.clock import from_micros
from treadle.kernel.errors import Invalid
from treadle.ports.blobs import Blobs
from treadle.tracking.local import LocalTracking
from treadle.tracking.model import Experiment, PastRun
from treadle.tracking.segments import pack

HEAD = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
BLOCK, LARGEST_RECORD = 32_768, 64 << 20
_CHUNK = struct.Struct("<IHB")  # a chunk's checksum, size in bytes and kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _SUMMARY, _CONFIG, _STATS, _OUTPUT, _RUN, _EXIT = 2, 3, 5, 7, 13, 17, 18
"""The fields of a Record that are read."""
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
Message = dict[int, list[Any]]
"""The values of a protobuf message, by the fields' numbers."""


def import_wandb(
    folder: Path, tracking: LocalTracking, blobs: Blobs, progress: Progress = lambda *_: None
) -> Imported:
    """Import the offline runs below a folder.

    Args:
        folder: The folder; runs are looked for at any depth.
        tracking: Where experiments and runs go.
        blobs: Where files go.
        progress: Called with what is imported, how many are done and how many there are.

    Returns:
        What was imported, and what was left behind.

    Raises:
        Invalid: There are no runs below the folder.
    """
    files = sorted(file for file in folder.rglob("run-*.wandb") if not file.parent.is_symlink())
    if not files:
        raise Invalid(f"'{folder}' holds no offline runs: there is no file run-ID.wandb below it.")
    session = ImportSession(str(folder), tracking, blobs, progress)
    projects: dict[str, dict[str, Path]] = {}
    for file in files:
        about = _about(file)
        if about is None:
            session.tally.left["files that are no runs of W&B, or end before they begin"] += 1
            continue
        project, run = about
        projects.setdefault(project, {})[run_id(project, run)] = file
    for project, runs in projects.items():
        experiment = session.experiment(project, tags={"wandb.project": project})
        session.runs(list(runs), partial(_read, session, experiment, runs))
    return session.report()


def records(file: Path) -> Iterator[bytes]:
    """Read the records of a LevelDB log, as far as they are whole.

    Args:
        file: The log.

    Yields:
        The records' contents.

    Raises:
        Invalid: The file is no log of W&B, or is damaged before its last record.
    """
    with file.open("rb") as source:
        if source.read(len(HEAD)) != HEAD:
            raise Invalid(f"'{file}' is no run of W&B: it does not begin as one.")
        position = len(HEAD)
        record = bytearray()
        while block := source.read(BLOCK - position % BLOCK):
            start = 0
            while start + _CHUNK.size <= len(block):
                checksum, size, kind = _CHUNK.unpack_from(block, start)
                end = start + _CHUNK.size + size
                body = block[start + _CHUNK.size : end]
                if len(body) < size or (kind == 0 and size == 0):
                    return  # the run was killed while it wrote
                known = kind in (_FULL, _FIRST, _MIDDLE, _LAST)
                if not known or crc32(body, crc32(bytes([kind]))) != checksum:
                    raise Invalid(f"'{file}' is damaged at byte {position + start}.")
                if kind in (_FULL, _FIRST):
                    record = bytearray()
                record += body
                if len(record) > LARGEST_RECORD:
                    largest = LARGEST_RECORD >> 20
                    raise Invalid(f"'{file}' holds a record of more than {largest} MiB.")
                if kind in (_FULL, _LAST):
                    yield bytes(record)
                start = end
            position += len(block)


def message(data: bytes) -> Message:
    """Decode a protobuf message of unknown type.

    Args:
        data: The encoded message.

    Returns:
        The values of each field by its number, in order: varints as int, 64 bits as float, the
        rest as bytes.

    Raises:
        Invalid: The data is no protobuf message.
    """
    fields: Message = {}
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            number, kind = tag >> 3, tag & 7
            value: Any
            if kind == 0:
                value, at = _varint(data, at)
            elif kind == 1:
                (value,), at = struct.unpack_from("<d", data, at), at + 8
            elif kind == 2:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
                if len(value) < size:
                    raise ValueError
            elif kind == 5:
                value, at = data[at : at + 4], at + 4
            else:
                raise ValueError
            fields.setdefault(number, []).append(value)
    except (ValueError, IndexError, struct.error) as error:
        raise Invalid("A record is no protobuf message.") from error
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at a position, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError


class _Point(NamedTuple):
    step: int
    at: int
    value: float


def _about(file: Path) -> tuple[str, str] | None:
    """A run's project and id, from the beginning of its file."""
    try:
        for data in records(file):
            fields = message(data)
            if _RUN in fields:
                run = message(fields[_RUN][0])
                entity = _word(run, 2)
                project = _word(run, 3) or "uncategorized"
                name = f"{entity}/{project}" if entity else project
                return name, _word(run, 1) or file.stem
    except Invalid:
        return None
    return None


def _read(
    session: ImportSession, experiment: Experiment, files: dict[str, Path], new: list[str]
) -> Iterable[PastRun]:
    for id in new:
        reading = _Reading(session)
        try:
            for data in records(files[id]):
                reading.take(message(data))
        except Invalid:
            damaged = "ends of runs whose files are damaged (what came before is carried)"
            session.tally.left[damaged] += 1
        folder = files[id].parent / "files"
        root = f"{experiment.id}/{id}/artifacts"
        if folder.is_dir():
            session.folder(root, str(folder))
        if reading.console and not (folder / "output.log").exists():
            session.file(root, "output.log", "".join(reading.console).encode())
        yield reading.run(experiment, id)


class _Reading:
    """What is known of one run so far."""

    def __init__(self, session: ImportSession) -> None:
        self._session = session
        self._about: Message = {}
        self._config: dict[str, Any] = {}
        self._summary: dict[str, Any] = {}
        self._series: dict[str, list[_Point]] = {}
        self._exit: int | None = None
        self._last = 0
        self._samples = 0
        self.console: list[str] = []

    def take(self, record: Message) -> None:
        for data in record.get(_RUN, []):
            self._about = message(data)
            for config in self._about.get(4, []):
                self._items(message(config), self._config)
        for data in record.get(_CONFIG, []):
            self._items(message(data), self._config)
        for data in record.get(_SUMMARY, []):
            self._items(message(data), self._summary)
        for data in record.get(_HISTORY, []):
            self._history(message(data))
        for data in record.get(_STATS, []):
            self._stats(message(data))
        for data in record.get(_OUTPUT, []):
            self.console.append(_word(message(data), 3))
        for data in record.get(_EXIT, []):
            self._exit = int((message(data).get(1) or [0])[0])

    def run(self, experiment: Experiment, id: str) -> PastRun:
        about, session = self._about, self._session
        started = _time(about.get(17, [b""])[0])
        tags = {
            "wandb.id": _word(about, 1),
            "wandb.group": _word(about, 6),
            "wandb.job_type": _word(about, 7),
        }
        tags |= {
            "mlflow.note.content": _word(about, 9),
            "wandb.tags": ", ".join(map(_decoded, about.get(10, []))),
        }
        tags |= {"wandb.host": _word(about, 13), "wandb.sweep": _word(about, 12)}
        params = {
            key: _text(value) for key, value in _flat(self._config) if not key.startswith("_wandb")
        }
        for key, value in self._measured(dict(_flat(self._summary))).items():
            number = _number(value)
            if number is not None and key not in self._series and not key.startswith("_"):
                self._series[key] = [_Point(0, self._last or started, number)]
        series = {key: points for key, points in self._series.items() if session.fits(key)}
        session.tally.counts["points"] += sum(map(len, series.values()))
        ended = self._last or started
        return PastRun(
            id=id,
            experiment=experiment.id,
            name=_word(about, 8) or _word(about, 1) or id,
            user="",
            status="killed" if self._exit is None else "failed" if self._exit else "finished",
            started_at=from_micros(started),
            ended_at=from_micros(max(ended, started)),
            params=session.texts(params),
            tags=session.texts({key: value for key, value in tags.items() if value}),
            points={key: _packed(points) for key, points in series.items()},
        )

    def _items(self, record: Message, into: dict[str, Any]) -> None:
        for data in record.get(1, []):
            key, value = _item(message(data))
            into[key] = value

    def _history(self, record: Message) -> None:
        items = dict(_item(message(data)) for data in record.get(1, []))
        row = self._measured(dict(_flat(items)))
        step_of_record = message(record[2][0]).get(1, [0])[0] if record.get(2) else 0
        step = int(_number(row.get("_step")) or step_of_record)
        at = _micros(_number(row.get("_timestamp"))) or self._last
        self._last = max(self._last, at)
        for key, value in row.items():
            number = _number(value)
            if number is not None and not key.startswith("_"):
                self._series.setdefault(key, []).append(_Point(step, at, number))

    def _measured(self, row: dict[str, Any]) -> dict[str, Any]:
        """The plain values of a row. Media, which several fields describe, and text are counted."""
        media = {key.removesuffix("._type") for key in row if key.endswith("._type")}
        plain = {
            key: value
            for key, value in row.items()
            if not any(key.startswith(f"{medium}.") for medium in media)
        }
        words = [
            key
            for key, value in plain.items()
            if _number(value) is None and not key.startswith("_")
        ]
        if media or words:
            reason = "media, tables and text in histories (media's files are carried as artifacts)"
            self._session.tally.left[reason] += len(media) + len(words)
        return plain

    def _stats(self, record: Message) -> None:
        at = _time(record.get(2, [b""])[0])
        for data in record.get(3, []):
            key, value = _item(message(data))
            number = _number(value)
            if number is not None:
                point = _Point(self._samples, at, number)
                self._series.setdefault(f"system/{key}", []).append(point)
        self._samples += 1


def _packed(points: list[_Point]) -> bytes:
    return pack(
        [point.step for point in points],
        [point.at for point in points],
        [point.value for point in points],
    )


def _item(item: Message) -> tuple[str, Any]:
    """A key with its value: newer files hold the value in its own type, older ones as JSON."""
    key = ".".join(map(_decoded, item.get(2, []))) or _word(item, 1)
    if 16 in item or 8 in item:
        text = _word(item, 16) or _word(item, 8)
        try:
            return key, json.loads(text)
        except ValueError:
            return key, text
    if 5 in item:
        return key, (item[5][0] >> 1) ^ -(item[5][0] & 1)  # zigzag
    for field in (6, 4, 7):
        if field in item:
            value = item[field][0]
            return key, _decoded(value) if field == 7 else value
    return key, None


def _flat(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values by their keys joined with dots."""
    for key, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return _WORDS.get(value) if isinstance(value, str) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _word(record: Message, number: int) -> str:
    return _decoded(record[number][-1]) if number in record else ""


def _decoded(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else ""


def _time(data: Any) -> int:
    """Microseconds since 1970 of an encoded protobuf Timestamp; 0 where the data is none."""
    fields = message(data) if isinstance(data, bytes) else {}
    seconds = (fields.get(1) or [0])[0]
    nanos = (fields.get(2) or [0])[0]
    if not isinstance(seconds, int) or not isinstance(nanos, int):
        return 0
    return _micros(seconds + nanos / 1e9)


def _micros(seconds: float | None) -> int:
    """Microseconds since 1970 of a moment before the year 9999, else 0."""
    return int(seconds * 1e6) if seconds and 0 < seconds < _LATEST else 0


_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
