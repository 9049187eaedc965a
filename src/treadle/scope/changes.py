"""What differs between two specifications of a project, and when each difference takes effect."""

from typing import Any

from treadle.kernel.entity import Entity, to_plain
from treadle.scope.model import ProjectSpec

WITH_THE_NEXT = {
    "data": "the next run",
    "pipeline": "the next run",
    "rollout.steps": "the next rollout",
}
"""What is read when something begins; everything else is read again all the time."""


class Change(Entity):
    """A key of ``treadle.toml`` that has another value.

    Attributes:
        key: The key with its tables, such as ``serving.replicas``.
        before: The value so far, as JSON has it; None where there was none.
        after: The value from now on; None where there is none any more.
        takes_effect: When: ``now``, or with what comes next.
    """

    key: str
    before: Any
    after: Any
    takes_effect: str


def changes(before: ProjectSpec, after: ProjectSpec) -> list[Change]:
    """List what differs between two specifications, by key.

    Args:
        before: The specification so far.
        after: The one that takes its place.
    """
    old, new = _flat(to_plain(before)), _flat(to_plain(after))
    return [
        Change(key=key, before=old.get(key), after=new.get(key), takes_effect=_effect(key))
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _effect(key: str) -> str:
    for beginning, when in WITH_THE_NEXT.items():
        if f"{key}.".startswith(f"{beginning}."):
            return f"with {when}"
    return "now"


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """Values by their whole keys; requirements by their ids, other lists as they are."""
    if isinstance(value, list) and key == "requirement":
        value = {one["id"]: one for one in value}
    if not isinstance(value, dict):
        return {key: value}
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{key}.{name}" if key else name)
    return found
