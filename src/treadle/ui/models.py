"""Pages of models: their versions, and all that is known of one version."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from starlette.responses import HTMLResponse, Response

from treadle.delivery.model import Rollout
from treadle.evaluation.model import Finding, Verdict
from treadle.kernel.entity import to_json
from treadle.registry.facts import Facts
from treadle.registry.model import CHAMPION, ModelVersion
from treadle.scope.model import Requirement
from treadle.ui.addresses import dataset_page, number_of, step
from treadle.ui.layered_graph import Graph, Node, layered
from treadle.ui.series import Series, over_steps
from treadle.ui.site import Page, Visit

NEWEST = 20
"""Versions that the first page lists."""
MOST = 500
"""Versions of one model that its page lists."""
CARD_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"


def _models(visit: Visit) -> Mapping[str, Any]:
    wanted = visit.query.get("filter", "")
    models = visit.ask.registry.models(filter=wanted)
    return {"models": models, "newest": visit.ask.registry.find(limit=NEWEST), "filter": wanted}


def _model(visit: Visit) -> Mapping[str, Any]:
    ask, name = visit.ask, visit.path["model"]
    model = ask.registry.model(name=name)
    versions = ask.registry.find(model=name, limit=MOST)
    verdicts = _verdicts(visit, model.project, versions)
    live = [one for one in ask.delivery.endpoints(project=model.project) if one.model == name]
    return {
        "model": model,
        "versions": versions,
        "verdicts": verdicts,
        "endpoints": live,
        "charts": _metrics(versions, verdicts),
    }


def _verdicts(
    visit: Visit, project: str, versions: Sequence[ModelVersion]
) -> Mapping[str, Verdict]:
    """The verdicts of versions by their ids: a project's newest, and older ones that are named."""
    find = visit.ask.evaluation.find
    found = {one.id: one for one in find(project=project, limit=MOST)}
    named = {one.verdict for one in versions if one.verdict and one.project == project}
    if older := sorted(named - found.keys()):
        found |= {one.id: one for one in find(verdicts=older, limit=len(older))}
    return found


def _version(visit: Visit) -> Mapping[str, Any]:
    ask, name, number = visit.ask, visit.path["model"], number_of(visit.path["number"], "version")
    facts = ask.lineage.of(version=f"{name}:{number}")
    version = facts.version
    rollouts = [
        rollout
        for one in ask.delivery.endpoints(project=version.project)
        if one.model == name
        for rollout in ask.delivery.rollouts(endpoint=one.name, limit=NEWEST)
        if rollout.number == number
    ]
    findings = facts.verdict.findings if facts.verdict else []
    return {
        "facts": facts,
        "version": version,
        "others": ask.registry.find(model=name, limit=NEWEST),
        "findings": [(one, _placed(one, facts.requirements)) for one in findings],
        "rollouts": rollouts,
        "waiting": [one for one in rollouts if one.state == "waiting"],
        "lineage": lineage(facts, rollouts),
        "champion": CHAMPION,
    }


def _card(visit: Visit) -> Response:
    number = number_of(visit.path["number"], "version")
    text = visit.ask.lineage.card(version=f"{visit.path['model']}:{number}", format="html")
    headers = {"Content-Security-Policy": CARD_POLICY, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(text, headers=headers | {"Cache-Control": "no-store"})


def _bom(visit: Visit) -> Response:
    number = number_of(visit.path["number"], "version")
    bill = visit.ask.lineage.bom(version=f"{visit.path['model']}:{number}")
    headers = {
        "Content-Disposition": 'attachment; filename="bom.cdx.json"',
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Response(to_json(bill), media_type="application/json", headers=headers)


def _metrics(versions: Sequence[ModelVersion], verdicts: Mapping[str, Verdict]) -> list[Any]:
    """A chart of each requirement's metric over the versions' numbers: its name, and its data."""
    judged = [
        (version.number, finding)
        for version in reversed(versions)
        if version.verdict in verdicts
        for finding in verdicts[version.verdict].findings
        if finding.low is not None and finding.low != finding.high
    ]
    charts = []
    for check in dict.fromkeys(finding.check for _, finding in judged):
        own = [(number, one) for number, one in judged if one.check == check]
        if len(own) < 2:
            continue
        found = [one for _, one in own]
        series = [
            Series("95 % from", [one.low for one in found], "--line"),
            Series("to", [one.high for one in found], "--line"),
            Series(found[0].metric, [one.value for one in found], "--c1"),
        ]
        data = over_steps([number for number, _ in own], series, band=(0, 1), label="version")
        charts.append((f"{check}: {found[0].metric}, by version", data))
    return charts


class Placed(NamedTuple):
    """A finding's numbers on a line from 0 to 100."""

    value: float
    low: float
    high: float
    bound: float | None


def _placed(finding: Finding, requirements: Sequence[Requirement]) -> Placed | None:
    """Where a finding's value, interval and bound lie beside each other; None without a number."""
    if finding.value is None or finding.low is None or finding.high is None:
        return None
    declared = next((one for one in requirements if one.id == finding.check), None)
    bound = None
    if declared is not None:
        bound = declared.limit
    elif finding.check == CHAMPION:
        bound = 0.0
    shown = [finding.value, finding.low, finding.high, *([] if bound is None else [bound])]
    low, span = min(shown), (max(shown) - min(shown)) or 1.0

    def place(value: float) -> float:
        return round(5 + 90 * (value - low) / span, 1)

    return Placed(
        place(finding.value),
        place(finding.low),
        place(finding.high),
        None if bound is None else place(bound),
    )


def lineage(facts: Facts, rollouts: Sequence[Rollout]) -> Graph:
    """Draw what a version was made from, and where it went.

    Args:
        facts: All that is known of the version.
        rollouts: Its rollouts.
    """
    version, project = facts.version, facts.version.project
    here = "version"
    nodes = [Node(here, "version", version.ref, state="here", note=version.package)]
    edges: list[tuple[str, str]] = []
    before = here
    if facts.verdict:
        state = "good" if facts.verdict.outcome == "passed" else "bad"
        nodes.append(
            Node(
                "verdict",
                "verdict",
                facts.verdict.outcome,
                "#evaluation",
                state,
                facts.verdict.reason,
            )
        )
        edges.append(("verdict", here))
        before = "verdict"
    if facts.run:
        link = f"/runs/{facts.run.id}"
        nodes.append(Node("run", "run", facts.run.name or facts.run.id, link, note=facts.run.id))
        edges.append(("run", before))
        before = "run"
    if facts.code:
        nodes.append(Node("code", "code", facts.code[:12], note=facts.code))
        edges.append(("code", before))
    for place, data in enumerate(facts.data):
        link = dataset_page(project, data.name, data.digest) if data.kept else ""
        title = f"{data.name}@{data.digest[:8]}"
        nodes.append(Node(f"data{place}", "dataset", title, link, note=data.digest))
        edges.append((f"data{place}", before))
    newest = {one.endpoint: one for one in reversed(rollouts)}
    for name in dict.fromkeys([*facts.endpoints, *newest]):
        live = name in facts.endpoints
        said = "live" if live else newest[name].state
        state = "good" if live else "bad" if said == "rolled back" else ""
        nodes.append(
            Node(f"at {name}", f"endpoint · {said}", name, f"/endpoints/{step(name)}", state)
        )
        edges.append((here, f"at {name}"))
    return layered(nodes, edges)


PAGES = (
    Page("/models", "Models", "models.html", _models),
    Page("/models/{model}", "Models", "model.html", _model),
    Page("/models/{model}/{number}", "Models", "model_version.html", _version),
    Page("/models/{model}/{number}/card", "Models", "model_version.html", _card),
    Page("/models/{model}/{number}/bom", "Models", "model_version.html", _bom),
)
