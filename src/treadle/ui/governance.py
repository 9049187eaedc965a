"""Pages of governance: approvals and their evidence, erasures, webhooks, and the audit log."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from treadle.ui.addresses import query
from treadle.ui.site import Area, Page, Visit

AREA = Area("Governance", "/governance", "n")
SHOWN = 30
"""Approvals, versions and erasures that the page shows of each."""
MOST_CONTENTS = 200
"""Contents of an erasure that its page lists."""


def _governance(visit: Visit) -> Mapping[str, Any]:
    ask, project = visit.ask, visit.query.get("project") or None
    everywhere, admin = visit.caller.may("viewer"), visit.caller.may("admin")
    return {
        "project": project,
        "projects": [one.name for one in ask.scope.projects()],
        "entries": ask.events.history(newest_first=True, limit=1)[:1] if everywhere else [],
        "everywhere": everywhere,
        "approvals": ask.registry.approvals(project=project, limit=SHOWN),
        "versions": ask.registry.find(project=project, limit=SHOWN),
        "erasures": ask.erasure.erasures(project=project, limit=SHOWN),
        "webhooks": [(one, host_of(one.url)) for one in ask.webhooks.every()] if admin else [],
        "admin": admin,
        "most": SHOWN,
    }


def _erasure(visit: Visit) -> Mapping[str, Any]:
    erasure = visit.ask.erasure.get(erasure=visit.path["erasure"])
    told = visit.ask.events.history(
        subject=f"erasure:{erasure.id}", project=erasure.project, limit=SHOWN
    )
    return {
        "erasure": erasure,
        "told": told,
        "most": MOST_CONTENTS,
        "record": f"/api/v1/erasure/get?{query({'erasure': erasure.id})}",
    }


def host_of(url: str) -> str:
    """A URL as far as it holds no secret: without user, path and what follows the path.

    Args:
        url: The URL.
    """
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{'/…' if parts.path.strip('/') or parts.query else ''}"


PAGES = (
    Page("/governance", AREA.name, "governance.html", _governance),
    Page("/governance/erasures/{erasure}", AREA.name, "erasure.html", _erasure),
)
