"""Ids that sort by the time they were made, so that tables and listings need no second key."""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


def new_id(kind: str) -> str:
    """Make an id such as ``run_01jd2v3k8m5x7q9w2e4r``: 50 bits of milliseconds, then 50 random bits."""
    return f"{kind}_{_base32(time.time_ns() // 1_000_000)}{_base32(secrets.randbits(50))}"


def _base32(number: int, width: int = 10) -> str:
    return "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(width)))
