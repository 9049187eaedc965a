"""Reads from a pod how often its containers have ended, and of what."""

from datetime import datetime
from typing import Any
from zlib import crc32

from treadle.kernel.exits import CALM, cause_of
from treadle.ports.target import ReplicaExits


def exits_of_pod(pod: dict[str, Any]) -> ReplicaExits | None:
    """How often the container of a pod has ended that ended last; None where none has.

    Ends that a container has outlived by ten minutes do not count as a row; how many of the others
    do, a cluster does not say, so all are.

    Args:
        pod: The pod, as the API server gives it.
    """
    ended = []
    for container in (pod.get("status") or {}).get("containerStatuses") or []:
        terminated = (container.get("lastState") or {}).get("terminated")
        if terminated and terminated.get("finishedAt") and container.get("restartCount"):
            ended.append((datetime.fromisoformat(terminated["finishedAt"]), container, terminated))
    if not ended:
        return None
    at, container, terminated = max(ended, key=lambda one: one[0])
    started = terminated.get("startedAt")
    lived = at - datetime.fromisoformat(started) if started else CALM * 0
    total = int(container["restartCount"])
    return ReplicaExits(
        replica=pod["metadata"]["name"],
        total=total,
        in_a_row=1 if lived > CALM else total,
        cause=_cause(terminated),
        pid=crc32(pod["metadata"]["uid"].encode()),
        at=at,
    )


def _cause(terminated: dict[str, Any]) -> str:
    number = terminated.get("signal")
    cause = cause_of(-number if number else terminated.get("exitCode", 0))
    reason = terminated.get("reason", "")
    return f"{cause}: {reason}" if reason not in ("", "Error", "Completed") else cause
