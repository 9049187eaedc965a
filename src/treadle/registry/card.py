"""Renders model cards: as an HTML page, and as Markdown with the front matter that hubs read."""

from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from treadle.kernel import escaping
from treadle.registry.bom import NO_METRICS
from treadle.registry.facts import Facts


def html(facts: Facts) -> str:
    """Return the card as one HTML page without scripts, style sheets or pictures from elsewhere.

    Args:
        facts: All that is known of the version.
    """
    return _pages.get_template("card.html").render(facts=facts, rows=_rows(facts))


def markdown(facts: Facts) -> str:
    """Return the card as Markdown that begins with Hugging Face's front matter.

    Args:
        facts: All that is known of the version.
    """
    text = _texts.get_template("card.md").render(facts=facts, rows=_rows(facts))
    return f"---\n{_front(front_matter(facts))}---\n\n{text}"


def front_matter(facts: Facts) -> dict[str, Any]:
    """Return what a hub indexes a model by, results included.

    Args:
        facts: All that is known of the version.
    """
    version = facts.version
    findings = facts.verdict.findings if facts.verdict else []
    measured = [
        finding
        for finding in findings
        if finding.value is not None and finding.check not in NO_METRICS
    ]
    task = f"tabular-{facts.task}" if facts.task else "other"
    dataset = facts.data[0].name if facts.data else "held-out rows"
    results = [
        {
            "task": {"type": task},
            "dataset": {"name": dataset, "type": "tabular"},
            "metrics": [
                {
                    "type": finding.metric,
                    "value": finding.value,
                    "name": finding.says or finding.metric,
                }
            ],
        }
        for finding in measured
    ]
    fields: dict[str, Any] = {
        "library_name": "onnx" if version.package else "",
        "pipeline_tag": task if facts.task else "",
        "tags": ["treadle", *sorted(version.tags)],
        "datasets": sorted({used.name for used in facts.data}),
        "metrics": sorted({finding.metric for finding in measured}),
        "model-index": [{"name": version.model, "results": results}] if results else [],
    }
    return {key: value for key, value in fields.items() if value}


def _rows(facts: Facts) -> dict[str, list[tuple[str, ...]]]:
    """The card's tables, as text."""
    version, run, environment = facts.version, facts.run, facts.environment
    author = version.created_by or "unknown"
    commit = environment.commit if environment else ""
    if environment and environment.changed:
        commit += " with changes"
    about: list[tuple[str, ...]] = [
        ("Version", version.ref),
        ("Aliases", ", ".join(version.aliases)),
        ("Live on", ", ".join(facts.endpoints)),
        ("Registered", f"{version.created_at:%Y-%m-%d %H:%M} UTC by {author}"),
        ("Package", version.package or version.source),
        ("Run", version.run),
        ("Code", facts.code or ""),
        ("Commit", commit),
        ("Python", environment.python if environment else ""),
    ]
    evidence: list[tuple[str, ...]] = [
        (
            finding.check,
            finding.says,
            finding.metric,
            _number(finding.value),
            _between(finding.low, finding.high),
            finding.bound,
            finding.outcome,
        )
        for finding in (facts.verdict.findings if facts.verdict else [])
    ]
    data: list[tuple[str, ...]] = [
        (
            dataset.name,
            dataset.digest,
            dataset.label or "",
            dataset.owner,
            dataset.licence,
            dataset.sensitivity,
        )
        for dataset in facts.data
    ]
    metrics = sorted(run.metrics.items()) if run else []
    inputs = facts.signature.inputs if facts.signature else []
    return {
        "about": [row for row in about if row[1]],
        "evidence": evidence,
        "data": data,
        "params": sorted(run.params.items()) if run else [],
        "metrics": [(key, _number(value)) for key, value in metrics],
        "inputs": [(field.name, field.kind) for field in inputs],
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _front(fields: dict[str, Any]) -> str:
    return "".join(f"{key}: {escaping.yaml(field)}\n" for key, field in fields.items())


_pages = Environment(
    loader=PackageLoader("treadle.registry"),
    autoescape=select_autoescape(),
    finalize=escaping.html,
    trim_blocks=True,
)
_texts = Environment(
    loader=PackageLoader("treadle.registry"),
    autoescape=False,
    finalize=escaping.markdown,
    trim_blocks=True,
    lstrip_blocks=True,
)
