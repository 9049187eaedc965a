"""What schemathesis loads: names of the attacked world for its texts, and our judgement.

The environment says who asks (``ATTACK_ROLE``), which names are guessed (``ATTACK_GUESSES``) and
where the counts and what is wrong are written at the end (``ATTACK_REPORT``).
"""

import atexit
import json
import os
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import schemathesis

from tests.http.canaries import wrong

ROLE = os.environ["ATTACK_ROLE"]
GUESSES: list[str] = json.loads(os.environ["ATTACK_GUESSES"])
COUNTS: Counter[int] = Counter()
WRONG: list[str] = []


def named(value: Any) -> Any:
    """A value in which every other text is a name of something that is there."""
    if isinstance(value, dict):
        return {key: named(one) for key, one in value.items()}
    if isinstance(value, list):
        return [named(one) for one in value]
    if not isinstance(value, str):
        return value
    chance = zlib.crc32(value.encode(errors="replace"))
    return GUESSES[chance // 2 % len(GUESSES)] if chance % 2 else value


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    """Name things in queries."""
    return named(query)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Name things in bodies."""
    return named(body)


@schemathesis.check
def is_safe(context: Any, response: Any, case: Any) -> None:
    """Count an answer, and keep what is wrong with it."""
    COUNTS[response.status_code] += 1
    headers = {name.lower(): ", ".join(values) for name, values in response.headers.items()}
    body = response.content.decode(errors="replace")
    if what := wrong(ROLE, response.status_code, headers, body, GUESSES):
        WRONG.append(f"{ROLE}: {case.method} {case.formatted_path} {case.query} {case.body} {what}")


def report() -> None:
    """Write what was counted."""
    Path(os.environ["ATTACK_REPORT"]).write_text(
        json.dumps({"counts": COUNTS, "wrong": WRONG[:100]})
    )


atexit.register(report)
