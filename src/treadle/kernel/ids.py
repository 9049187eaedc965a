"""Ids that sort by the time they were made, so that tables and listings need no second key."""

import secrets
import threading
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u
_lock = threading.Lock()
_last = [0, 0]


def new_id(kind: str) -> str:
    """Make an id such as ``run_01jd2v3k8m5x7q9w2e4r``: 50 bits of milliseconds, then 50 bits, random at first.

    Within a millisecond of one process the last bits count up, so that its ids sort in the order they were made.
    """
    with _lock:
        moment, low = time.time_ns() // 1_000_000, secrets.randbits(49)
        if moment <= _last[0]:
            moment, low = _last[0], _last[1] + 1
        _last[:] = [moment, low]
    return f"{kind}_{_base32(moment)}{_base32(low)}"


def _base32(number: int, width: int = 10) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(width)))
