"""Limits of the keys and texts that runs log."""

from treadle.kernel.errors import Invalid

LONGEST_KEY = 250


LONGEST_VALUE = 1 << 20


def check_text(what: str, key: str, value: str) -> None:
    """Refuse what no parameter or tag can be.

    Args:
        what: What it is, for the message, such as ``Parameter``.
        key: Its key, 1 to 250 characters without a NUL.
        value: Its value, at most 1 Mi characters without a NUL.

    Raises:
        Invalid: The key or the value is out of bounds.
    """
    check_key(what, key)
    if len(value) > LONGEST_VALUE or "\0" in value:
        raise Invalid(f"{what} '{key}' is longer than 1 MiB, or has a NUL in it.")


def check_key(what: str, key: str) -> None:
    """Refuse what no parameter, tag or metric can be called.

    Args:
        what: What it is, for the message, such as ``Metric``.
        key: Its key, 1 to 250 characters without a NUL.

    Raises:
        Invalid: The key is out of bounds.
    """
    if not key or len(key) > LONGEST_KEY or "\0" in key:
        raise Invalid(
            f"{what} '{key[:80]}' needs a name of 1 to {LONGEST_KEY} characters without a NUL."
        )
