"""What reading and writing the files of labelling tools share."""

from collections import Counter
from pathlib import Path
from typing import Any

from treadle.data.labelling.sets import LabelRow, moment
from treadle.kernel.entity import Entity, from_json
from treadle.kernel.errors import Invalid, NotFound


class Imported(Entity):
    """What was taken from the file of a labelling tool.

    Attributes:
        format: ``label-studio`` or ``coco``.
        labels: How many labels were taken.
        left_out: What the label set has no place for, and how often it occurs.
    """

    format: str
    labels: int
    left_out: dict[str, int]


class Taking:
    """Rows that are being taken from a file, and what is left out of it."""

    def __init__(self) -> None:
        self.rows: list[LabelRow] = []
        self.left_out: Counter[str] = Counter()

    def result(self, format: str) -> tuple[list[LabelRow], Imported]:
        """Return the rows and what was taken.

        Args:
            format: The name of the file's format.
        """
        left_out = dict(sorted(self.left_out.items()))
        return self.rows, Imported(format=format, labels=len(self.rows), left_out=left_out)


def read_document(file: Path) -> Any:
    """Read a JSON file.

    Args:
        file: The file.

    Raises:
        NotFound: There is no such file.
        Invalid: It holds no JSON.
    """
    if not file.is_file():
        raise NotFound(f"There is no file '{file}'. Name a JSON file.")
    try:
        return from_json(file.read_bytes(), object)
    except Invalid as error:
        raise Invalid(f"'{file}' is no JSON: {error.message}") from error


def part(of: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Take a value out of an object of a document.

    Args:
        of: The object.
        key: The value's key.
        kind: The type that it must have.
        where: What the object is, for the error.

    Raises:
        Invalid: It is no object, or lacks the value, or the value is of another type.
    """
    if not isinstance(of, dict):
        raise Invalid(f"{where} is no JSON object.")
    if key not in of:
        raise Invalid(f"{where} has no '{key}'.")
    if not isinstance(of[key], kind) or isinstance(of[key], bool):
        raise Invalid(f"'{key}' of {where} has a value of the wrong type.")
    return of[key]


def times(of: dict[str, Any], at: str, seconds: str, where: str) -> tuple[str, float | None]:
    """Take out when a label was given, and how long it took.

    Args:
        of: The object that describes the label.
        at: Key of the moment, which may be missing.
        seconds: Key of the duration in seconds, which may be missing.
        where: What the object is, for the error.

    Raises:
        Invalid: The moment or the duration is none.
    """
    when, took = of.get(at) or "", of.get(seconds)
    try:
        moment(when)
    except (TypeError, ValueError):
        raise Invalid(f"'{when}' in '{at}' of {where.lower()} is no time.") from None
    if took is not None and (isinstance(took, bool) or not isinstance(took, int | float)):
        raise Invalid(f"'{took}' in '{seconds}' of {where.lower()} is no duration.")
    if took is not None and took < 0:
        raise Invalid(f"'{took}' in '{seconds}' of {where.lower()} is below zero.")
    return str(when), took
