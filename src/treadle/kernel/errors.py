"""Errors that say what happened, to which thing, and what to do next, each with an HTTP status."""

import errno
from collections.abc import Iterable
from difflib import get_close_matches

_PASSING = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
    }
)


class TreadleError(Exception):
    """Anything Treadle refuses or fails to do, in one clear sentence.

    Attributes:
        status: HTTP status of the response that carries the error.
        retry: Whether the same call may succeed later.
    """

    status = 500
    retry = False

    @property
    def message(self) -> str:
        """The sentence."""
        return str(self)


class Invalid(TreadleError):
    """The request itself is wrong: a field, a type, a value, a file."""

    status = 400


class Unauthenticated(TreadleError):
    """The request has no valid token and needs one."""

    status = 401


class Forbidden(TreadleError):
    """The caller lacks the role that the request needs, or the request is never allowed."""

    status = 403


class NotFound(TreadleError):
    """The request names something that does not exist."""

    status = 404


class Conflict(TreadleError):
    """The thing exists already, or its state forbids what was asked."""

    status = 409


class TooLarge(TreadleError):
    """The request is larger than the server accepts."""

    status = 413


class TooSlow(TreadleError):
    """A request did not come within the time that it may take."""

    status = 408


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
    """The error for an optional dependency that is not installed.

    Args:
        extra: Name of the extra that brings the dependency.
        what: What needs it, as the subject of the sentence.
    """
    return Invalid(
        f"{what} needs an extra that is not installed. "
        f"Install it with: pip install 'treadle[{extra}]'"
    )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown word.

    Args:
        word: The unknown word.
        known: The words that are allowed.

    Returns:
        A sentence that suggests the nearest known word, or lists up to 12 known words when none is
            near; '' when none is known. It starts with a blank.
    """
    words = sorted(known)
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean '{near[0]}'?"
    rest = f" and {len(words) - 12} more" if len(words) > 12 else ""
    return f" Known: {', '.join(words[:12])}{rest}." if words else ""


def kind_of(error: TreadleError) -> str:
    """The name of an error's class, as it is sent over the wire.

    Args:
        error: The error.
    """
    return type(error).__name__


def error_named(kind: str) -> type[TreadleError]:
    """The error class of a name; TreadleError for an unknown name.

    Args:
        kind: Name that came over the wire.
    """
    return {cls.__name__: cls for cls in TreadleError.__subclasses__()}.get(kind, TreadleError)


def is_passing(error: Exception) -> bool:
    """Whether the same may succeed later, once something else has come back.

    A backend that is away is such a thing, and so is a system without file handles, memory or
    room, or a disk that refuses.

    Args:
        error: What was raised.
    """
    if isinstance(error, TreadleError):
        return error.retry
    return isinstance(error, OSError) and error.errno in _PASSING
