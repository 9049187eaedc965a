"""Finds the version of a dataset that people name: ``photos``, ``photos@3f9a``, ``photos@~1``."""

import re
from datetime import UTC, date, datetime, time

from treadle.data.model import DatasetVersion
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.kernel.escaping import shell

_BACK = re.compile(r"~(\d{1,6})")
_DIGEST = re.compile("[0-9a-f]{4,64}")


def split(text: str) -> tuple[str, str]:
    """Split what people type into the dataset's name and what chooses the version.

    Args:
        text: ``NAME`` or ``NAME@VERSION``.
    """
    name, _, which = text.partition("@")
    return name, which


def require(versions: list[DatasetVersion], project: str, name: str | None, digest: str) -> None:
    """Refuse a digest that is not among some versions.

    Args:
        versions: The versions.
        project: Their project.
        name: Their dataset; None for all of the project's.
        digest: Digest of a version, 64 hex digits.

    Raises:
        NotFound: There is no such version.
        Conflict: There was, and rows of a person were erased from it.
    """
    if all(version.digest != digest for version in versions):
        refuse_replaced(versions, digest)
        of = f"Dataset '{name}' of project" if name else "Project"
        raise NotFound(
            f"{of} '{project}' has no version {digest[:12]}. "
            f"List them with: {shell('treadle', 'data', *([name] if name else []))}"
        )


def refuse_replaced(versions: list[DatasetVersion], digest: str) -> None:
    """Refuse a version from which rows of a person were erased, and name the one in its place.

    Args:
        versions: The versions that are there.
        digest: The first digits of a digest.

    Raises:
        Conflict: It was such a version.
    """
    for version in versions:
        for old in version.replaces:
            if old.startswith(digest):
                raise Conflict(
                    f"Version {version.name}@{old[:12]} is gone: rows of a person were erased from "
                    f"it. {version.ref} is the same without them."
                )


def choose(versions: list[DatasetVersion], which: str) -> DatasetVersion:
    """Choose a version.

    Args:
        versions: All versions of a dataset, newest first; at least one.
        which: The first digits of a digest (four at least); ``~N``, the one N before the newest; a
            date or moment, such as ``2026-03-01``, for the newest of that time; empty for the
            newest.

    Raises:
        NotFound: There is no such version.
        Invalid: Several versions begin with these digits, or this is no version's name.
        Conflict: Rows of a person were erased from the version.
    """
    name = versions[0].name
    if not which:
        return versions[0]
    if back := _BACK.fullmatch(which):
        found = versions[int(back[1]) :]
    elif moment := _moment(which):
        found = [version for version in versions if version.created_at <= moment]
    elif _DIGEST.fullmatch(which):
        found = [version for version in versions if version.digest.startswith(which)]
        if not found:
            refuse_replaced(versions, which)
        if len(found) > 1:
            raise Invalid(
                f"{len(found)} versions of '{name}' begin with {which}: "
                f"{', '.join(version.digest[:12] for version in found[:5])}. Name more digits."
            )
    else:
        raise Invalid(
            f"'{which}' is no version of '{name}'. Name the first digits of its digest, ~N for the "
            "one N before the newest, or a date such as 2026-03-01."
        )
    if not found:
        raise NotFound(
            f"Dataset '{name}' has no version {which}. "
            f"List them with: {shell('treadle', 'data', 'log', name)}"
        )
    return found[0]


def _moment(text: str) -> datetime | None:
    """The end of a day, or a moment; without a zone it is of UTC."""
    try:
        day = date.fromisoformat(text) if len(text) == len("2026-03-01") else None
        moment = datetime.combine(day, time.max) if day else datetime.fromisoformat(text)
    except ValueError:
        return None
    if text.isdigit():
        return None  # digits of a digest, which ISO takes for a date as well
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
