"""Takes a subject's value out of names, so that a record of its erasure does not hold it."""

import re
from collections.abc import Iterable

from treadle.data.erasing.model import ErasedPlace, NotLookedInto
from treadle.data.erasing.subject import Matching
from treadle.kernel.entity import replace

HIDDEN = "[the value]"


def hidden(text: str, subjects: list[Matching]) -> str:
    """A text with a mark in the place of some subjects' values.

    Args:
        text: The text, such as the path of an artifact.
        subjects: The subjects; values of few characters, which are anywhere, stay.
    """
    for one in subjects:
        if one.is_telling:
            text = re.sub(re.escape(one.text), HIDDEN, text, flags=re.IGNORECASE)
    return text


def places_without(places: Iterable[ErasedPlace], subjects: list[Matching]) -> list[ErasedPlace]:
    """Places with names that do not have the value; those that are alike then become one.

    Args:
        places: The places.
        subjects: The subjects.
    """
    found: dict[tuple[str, str, str], ErasedPlace] = {}
    for one in places:
        what = hidden(one.what, subjects)
        key = (one.project, what, one.digest)
        known = found[key].rows if key in found and not one.digest else 0
        found[key] = replace(one, what=what, rows=one.rows + known)
    return list(found.values())


def left_without(left: Iterable[NotLookedInto], subjects: list[Matching]) -> list[NotLookedInto]:
    """What is left, with names and reasons that do not have the value.

    Args:
        left: What is left.
        subjects: The subjects.
    """
    told = [
        replace(one, what=hidden(one.what, subjects), why=hidden(one.why, subjects)) for one in left
    ]
    return list(dict.fromkeys(told))
