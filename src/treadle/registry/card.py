"""Model cards: for people as HTML, for hubs as Markdown with front matter."""

import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape

from treadle.registry.bom import NO_METRICS
from treadle.registry.facts import Facts

_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


def html(facts: Facts) -> str:
    """One page that needs nothing else: no script, no style sheet, no picture from elsewhere."""
    return _pages.get_template("card.html").render(facts=facts, rows=_rows(facts))


def markdown(facts: Facts) -> str:
    """Markdown that begins with Hugging Face's front matter, results included."""
    text = _texts.get_template("card.md").render(facts=facts, rows=_rows(facts))
    return f"---\n{_yaml(front_matter(facts))}---\n\n{text}"


def front_matter(facts: Facts) -> dict[str, Any]:
    """What a hub indexes a model by."""
    version, verdict = facts.version, facts.verdict
    measured = (
        [f for f in verdict.findings if f.value is not None and f.check not in NO_METRICS]
        if verdict
        else []
    )
    task = f"tabular-{facts.task}" if facts.task else "other"
    results = [
        {
            "task": {"type": task},
            "dataset": {
                "name": facts.data[0].name if facts.data else "held-out rows",
                "type": "tabular",
            },
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
    found: dict[str, Any] = {
        "library_name": "onnx" if version.package else "",
        "pipeline_tag": task if facts.task else "",
        "tags": ["treadle", *sorted(version.tags)],
        "datasets": sorted({one.name for one in facts.data}),
        "metrics": sorted({finding.metric for finding in measured}),
        "model-index": [{"name": version.model, "results": results}] if results else [],
    }
    return {key: value for key, value in found.items() if value}


def _rows(facts: Facts) -> dict[str, list[tuple[str, ...]]]:
    """The card's tables, as text."""
    findings = facts.verdict.findings if facts.verdict else []
    environment = facts.environment
    about: list[tuple[str, ...]] = [
        ("Version", facts.version.ref),
        ("Aliases", ", ".join(facts.version.aliases)),
        ("Live on", ", ".join(facts.endpoints)),
        (
            "Registered",
            f"{facts.version.created_at:%Y-%m-%d %H:%M} UTC by {facts.version.created_by or 'unknown'}",
        ),
        ("Package", facts.version.package or facts.version.source),
        ("Run", facts.version.run),
        ("Code", facts.code or ""),
        (
            "Commit",
            (environment.commit + (" with changes" if environment.changed else ""))
            if environment
            else "",
        ),
        ("Python", environment.python if environment else ""),
    ]
    return {
        "about": [row for row in about if row[1]],
        "evidence": [
            (
                f.check,
                f.says,
                f.metric,
                _number(f.value),
                _between(f.low, f.high),
                f.bound,
                f.outcome,
            )
            for f in findings
        ],
        "data": [
            (d.name, d.digest, d.label or "", d.owner, d.licence, d.sensitivity) for d in facts.data
        ],
        "params": sorted(facts.run.params.items()) if facts.run else [],
        "metrics": [(key, _number(value)) for key, value in sorted(facts.run.metrics.items())]
        if facts.run
        else [],
        "inputs": [(field.name, field.kind) for field in facts.signature.inputs]
        if facts.signature
        else [],
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4g} to {high:.4g}"


def _yaml(value: dict[str, Any]) -> str:
    return "".join(f"{key}: {_flow(one)}\n" for key, one in value.items())


def _flow(value: Any) -> str:
    """A value on one line of YAML, read back as it was by readers of YAML 1.1 too, which take ``1e-06`` for text."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    quoted = json.dumps(value, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", quoted)


def _plain(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


_pages = Environment(
    loader=PackageLoader("treadle.registry"), autoescape=select_autoescape(), trim_blocks=True
)
_texts = Environment(
    loader=PackageLoader("treadle.registry"), autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_texts.filters["plain"] = _plain
