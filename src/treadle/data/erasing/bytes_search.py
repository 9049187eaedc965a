"""Searches the bytes of files for a subject's value, which is much faster than reading rows."""

import mmap
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from treadle.data.erasing.subject import Matching

_JSON_EXPONENT = re.compile(rb"[0-9][eE][+-]?[0-9]")


def has_text(file: Path, subjects: list[Matching]) -> bool:
    """Whether a value of some subjects is among a file's bytes, in UTF-8.

    Args:
        file: The file.
        subjects: The subjects; values of few characters are passed over.
    """
    values = [one.text.encode() for one in subjects if one.is_telling]
    if not values or not file.stat().st_size:
        return False
    with _mapped(file) as content:
        return any(content.find(value) >= 0 for value in values)


def may_have(file: Path, subjects: list[Matching], *, is_json: bool) -> bool:
    """Whether a text file may have a cell with a value of some subjects.

    It may say yes of a file that has none, and never no of one that has.

    Args:
        file: The file, not empty.
        subjects: The subjects.
        is_json: Whether it is JSON; else it is CSV.
    """
    with _mapped(file) as content:
        if is_json and (b"\0" in content[:4] or content.find(b"\\u") >= 0):
            return True  # another encoding, or characters that are written in other ways
        test = _in_json if is_json else _in_csv
        return any(test(content, subject) for subject in subjects)


def _in_csv(content: mmap.mmap, subject: Matching) -> bool:
    """Quotes may stand anywhere within a cell, and numbers may have other forms."""
    if subject.plain is not None:
        return _has_number(content, subject)
    text = subject.text.encode()
    if "\ufffd" in subject.text or content.find(text) >= 0:
        return True
    return content.find(b'"') >= 0 and bool(re.search(_spread(text), content))


def _in_json(content: mmap.mmap, subject: Matching) -> bool:
    text = subject.text
    if any(character in '"\\/' or character < " " for character in text):
        return True  # it may be escaped
    if text.lower() in ("true", "false") or content.find(text.encode()) >= 0:
        return True
    if subject.number is None:
        return False
    if subject.plain is None or _JSON_EXPONENT.search(content):
        return True
    return _has_number(content, subject)


def _has_number(content: mmap.mmap, subject: Matching) -> bool:
    """Whether there is such a number, with any zeros behind its fraction."""
    digits = f"{abs(subject.plain or 0):f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    zeros = rb'["0]*' if "." in digits else b""
    pattern = rb"(?<![0-9.])" + _spread(digits.encode()) + zeros + rb"(?![0-9])"
    return bool(re.search(pattern, content))


def _spread(text: bytes) -> bytes:
    """A pattern for a text with any quotes between its bytes."""
    return b'"*'.join(re.escape(text[at : at + 1]) for at in range(len(text)))


@contextmanager
def _mapped(file: Path) -> Iterator[mmap.mmap]:
    with (
        file.open("rb") as content,
        mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        yield mapped
