"""Ids that sort by the time they were made."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_lock = threading.Lock()
_last = [0, 0]  # milliseconds and low bits of the newest id


def new_id(kind: str) -> str:
    """Make an id such as ``run_01jd2v3k8m5x7q9w2e4r``: 50 bits of time and 50 random bits.

    The time is in milliseconds. Within a millisecond the random bits count up, so that the ids of a
    process sort in the order in which they were made.

    Args:
        kind: Prefix that says what the id names.
    """
    with _lock:
        milliseconds = time.time_ns() // 1_000_000
        low_bits = secrets.randbits(49)
        if milliseconds <= _last[0]:
            milliseconds, low_bits = _last[0], _last[1] + 1
        _last[:] = [milliseconds, low_bits]
    return f"{kind}_{_base32(milliseconds)}{_base32(low_bits)}"


def _base32(number: int, width: int = 10) -> str:
    digits = ((number >> (5 * position)) & 31 for position in reversed(range(width)))
    return "".join(_ALPHABET[digit] for digit in digits)
