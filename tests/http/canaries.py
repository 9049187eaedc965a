"""Words that must not show, and what counts as wrong in an answer.

Plain Python: schemathesis, which lives in an environment of its own, judges by this too.
"""

import re
from collections.abc import Iterable, Mapping

OWN, FOREIGN = "vouqw", "zouqx"  # no id has an "o" or "u": kernel/ids.py
"""Every name and text of project A begins with the one, and of B with the other."""
ROLES = ("nobody", "viewer", "editor", "approver", "admin")
"""Who attacks: a stranger without a token, and one caller for each role in A; none in B."""


def words(text: str, canary: str) -> set[str]:
    """The words of a text that have a canary in them."""
    return set(re.findall(rf"[\w-]*{canary}[\w-]*", text)) if canary in text else set()


def told(role: str, text: str, guesses: Iterable[str]) -> set[str]:
    """The words that an answer must not have: nobody but the answer could have said them.

    Args:
        role: Who asked.
        text: The answer's headers and body.
        guesses: The names that attackers send themselves, and so may be said to them again.
    """
    canaries = (OWN, FOREIGN) if role == "nobody" else (FOREIGN,)
    found = {word for canary in canaries for word in words(text, canary)}
    return {word for word in found if not any(word in guess for guess in guesses)}


def wrong(
    role: str, status: int, headers: Mapping[str, str], body: str, guesses: Iterable[str]
) -> str:
    """What is wrong with an answer; '' where nothing is."""
    refused = status == 501 and '"error_code":"NOT_IMPLEMENTED"' in body
    if status >= 500 and not refused and not (status == 503 and "retry-after" in headers):
        return f"answered {status} {body[:300]}"
    shown = told(role, body + "\n" + "\n".join(headers.values()), guesses)
    return f"told {sorted(shown)[:3]}" if shown else ""
