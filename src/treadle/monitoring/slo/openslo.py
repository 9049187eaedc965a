"""Writes objectives as OpenSLO v1, and reads requirements from it.

What Treadle measures stands in annotations (``treadle/metric`` and its bound), so that what was
written is read back as it was. The indicator is a query of Treadle's own metrics for Prometheus.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from treadle.kernel.errors import Invalid
from treadle.kernel.escaping import toml, yaml_block
from treadle.monitoring.slo.exposition import GOOD, TOTAL, labels
from treadle.monitoring.slo.model import SloStatus
from treadle.scope.model import Requirement
from treadle.scope.requirements import check_requirement

VERSION = "openslo/v1"
_BOUNDS = {"≤": "at_most", "≥": "at_least"}


def openslo(slos: Iterable[SloStatus]) -> str:
    """Write objectives as YAML, a document for each.

    Args:
        slos: The objectives.
    """
    return "---\n".join(yaml_block(_document(slo)) for slo in slos)


def _document(slo: SloStatus) -> dict[str, Any]:
    metric, _, bound = slo.condition.partition(" ")
    annotations = {"treadle/project": slo.project, "treadle/metric": metric}
    if bound:
        annotations[f"treadle/{_BOUNDS[bound[0]]}"] = bound[2:]
    queries = {"good": GOOD, "total": TOTAL}
    sources = {
        name: {
            "metricSource": {
                "type": "Prometheus",
                "spec": {"query": f"{counter}{labels(slo)}"},
            }
        }
        for name, counter in queries.items()
    }
    name = _name(f"{slo.endpoint}-{slo.slo}")
    return {
        "apiVersion": VERSION,
        "kind": "SLO",
        "metadata": {"name": name, "displayName": slo.slo, "annotations": annotations},
        "spec": {
            "description": slo.says or f"{slo.condition} of {slo.endpoint}",
            "service": _name(slo.endpoint),
            "indicator": {
                "metadata": {"name": f"{name}-good"},
                "spec": {"ratioMetric": {"counter": True, **sources}},
            },
            "timeWindow": [{"duration": slo.over, "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [{"displayName": slo.condition, "target": slo.objective}],
        },
    }


def requirements_of(documents: Iterable[Any]) -> list[Requirement]:
    """Read requirements from documents of OpenSLO; those of other kinds are passed over.

    An indicator that is a ratio and says nothing of Treadle's metrics is taken for availability.

    Args:
        documents: Documents of one or more files, as YAML gives them.

    Raises:
        Invalid: An SLO is malformed, or has something that Treadle does not measure.
    """
    slos = [one for one in documents if isinstance(one, Mapping) and one.get("kind") == "SLO"]
    if not slos:
        raise Invalid(f"There is no document of kind SLO ({VERSION}) in it.")
    return [requirement for slo in slos for requirement in _requirements(slo)]


def requirements_toml(requirements: Iterable[Requirement]) -> str:
    """Write requirements as they stand in ``treadle.toml``.

    Args:
        requirements: The requirements.

    Raises:
        Invalid: A text holds half a surrogate pair.
    """
    tables = []
    for requirement in requirements:
        lines = ["[[requirement]]"]
        for name in requirement.__struct_fields__:
            value = getattr(requirement, name)
            if value not in (None, ""):
                lines.append(f"{name} = {toml(value) if isinstance(value, str) else value}")
        tables.append("\n".join(lines))
    return "\n\n".join(tables) + "\n"


def _requirements(slo: Mapping[str, Any]) -> list[Requirement]:
    name = str(_at(slo, "metadata", "name"))
    spec = _at(slo, "spec", name=name)
    if slo.get("apiVersion") != VERSION:
        raise Invalid(f"SLO '{name}': its version is '{slo.get('apiVersion')}', not {VERSION}.")
    metadata = slo["metadata"]
    display_name = str(metadata.get("displayName") or name)
    annotations = metadata.get("annotations") or {}
    metric, bounds = _metric(name, spec, annotations)
    over = _over(name, spec)
    objectives = spec.get("objectives") or []
    made = []
    for number, objective in enumerate(objectives, start=1):
        share = _target(name, objective)
        requirement = Requirement(
            id=display_name if len(objectives) == 1 else f"{display_name}-{number}",
            metric=metric,
            says=str(spec.get("description") or ""),
            objective=f"{share:.10g}%",
            over=over,
            at_least=bounds.get("at_least"),
            at_most=bounds.get("at_most"),
        )
        check_requirement(requirement, f"SLO '{name}'")
        made.append(requirement)
    if not made:
        raise Invalid(f"SLO '{name}': it has no objectives.")
    return made


def _metric(
    name: str, spec: Mapping[str, Any], annotations: Mapping[str, Any]
) -> tuple[str, dict[str, float]]:
    """The metric of Treadle's that an SLO is about, and its bound."""
    if metric := annotations.get("treadle/metric"):
        given = {key: annotations.get(f"treadle/{key}") for key in ("at_least", "at_most")}
        try:
            return str(metric), {k: float(v) for k, v in given.items() if v is not None}
        except (TypeError, ValueError) as error:
            raise Invalid(f"SLO '{name}': its bound is no number.") from error
    indicator = spec.get("indicator")
    indicated = indicator.get("spec") if isinstance(indicator, Mapping) else None
    if isinstance(indicated, Mapping) and "ratioMetric" in indicated:
        return "availability", {}
    raise Invalid(
        f"SLO '{name}': nothing says which of Treadle's metrics it bounds. Annotate it, such as "
        "treadle/metric: latency_ms and treadle/at_most: '250'."
    )


def _over(name: str, spec: Mapping[str, Any]) -> str:
    windows = spec.get("timeWindow") or []
    window = windows[0] if isinstance(windows, list) and windows else {}
    if not isinstance(window, Mapping) or not window.get("isRolling"):
        raise Invalid(f"SLO '{name}': its time window must roll (isRolling: true).")
    return str(window.get("duration"))


def _target(name: str, objective: Any) -> float:
    """The share of good events in per cent."""
    given = objective if isinstance(objective, Mapping) else {}
    try:
        if "targetPercent" in given:
            return float(given["targetPercent"])
        return round(float(given["target"]) * 100, 10)
    except (KeyError, TypeError, ValueError) as error:
        raise Invalid(f"SLO '{name}': an objective has no target that is a number.") from error


def _at(value: Any, *keys: str, name: str = "") -> Any:
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            which = f"SLO '{name}': it" if name else "An SLO"
            raise Invalid(f"{which} has no '{key}'. Write it as {VERSION} does.")
        value = value[key]
    return value


def _name(text: str) -> str:
    """A name as OpenSLO has it: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "slo"
