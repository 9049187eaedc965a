"""Errors for people: what happened, to which thing, and what to do next. Each kind has one HTTP status."""

from collections.abc import Iterable
from difflib import get_close_matches


class TreadleError(Exception):
    """Anything Treadle refuses or fails to do, in one clear sentence.

    ``status`` is the HTTP status it travels as; ``retry`` says whether the same call may succeed later.
    """

    status = 500
    retry = False

    @property
    def message(self) -> str:
        return str(self)


class Invalid(TreadleError):
    """The request itself is wrong: a field, a type, a value, a file."""

    status = 400


class Unauthenticated(TreadleError):
    status = 401


class Forbidden(TreadleError):
    status = 403


class NotFound(TreadleError):
    status = 404


class Conflict(TreadleError):
    """The thing exists already, or its state forbids what was asked."""

    status = 409


class TooLarge(TreadleError):
    status = 413


class Busy(TreadleError):
    """A declared limit is reached; the same call may succeed later."""

    status = 429
    retry = True


class Unavailable(TreadleError):
    """Something that is needed does not answer now; the same call may succeed later."""

    status = 503
    retry = True


class Corrupt(TreadleError):
    """Stored content is not what was stored."""


def missing_extra(extra: str, what: str) -> Invalid:
    """The error for a heavy dependency that is not installed, naming the extra that brings it."""
    return Invalid(
        f"{what} needs an extra that is not installed. Install it with: pip install 'treadle[{extra}]'"
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence fragment naming the near miss, or the known words when nothing is near, or nothing."""
    words = sorted(known)
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Known: {', '.join(words[:12])}." if words else ""


def kind_of(error: TreadleError) -> str:
    return type(error).__name__


def error_named(kind: str) -> type[TreadleError]:
    """The error class of a name that came over the wire; TreadleError itself for a name we do not know."""
    return {cls.__name__: cls for cls in TreadleError.__subclasses__()}.get(kind, TreadleError)
