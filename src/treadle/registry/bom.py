"""Writes bills of materials in CycloneDX 1.6: a model, its data and the packages it used."""

import re
from importlib.metadata import version as version_of
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from treadle.registry.facts import Facts, Input

NO_METRICS = ("answers", "scores", "baseline", "champion")
"""Checks of a verdict whose figures measure more than the model alone."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def cyclonedx(facts: Facts) -> dict[str, Any]:
    """Return the bill of materials of a version as a CycloneDX document.

    The same facts give the same bill, serial number included.

    Args:
        facts: All that is known of the version.
    """
    version = facts.version
    model = _model(facts)
    parts = [*(_dataset(dataset) for dataset in facts.data), *_packages(facts)]
    content = version.package or version.source
    serial = uuid5(NAMESPACE_URL, f"treadle:{version.ref}:{content}")
    tool = {"type": "application", "name": "treadle", "version": version_of("treadle")}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": version.created_at.isoformat().replace("+00:00", "Z"),
            "tools": {"components": [tool]},
            "component": model,
        },
        "components": parts,
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts]}
        ],
    }


def _model(facts: Facts) -> dict[str, Any]:
    version = facts.version
    about = facts.about
    signature = facts.signature
    inputs = signature.inputs if signature else []
    parameters = {
        "task": facts.task,
        "datasets": [{"ref": _data_ref(dataset)} for dataset in facts.data],
        "inputs": [{"format": f"{field.name}: {field.kind}"} for field in inputs],
        "outputs": [{"format": signature.output}] if signature else [],
    }
    considerations = {
        "users": [about.users] if about and about.users else [],
        "useCases": [about.problem] if about and about.problem else [],
        "technicalLimitations": facts.limits,
    }
    card = {
        "modelParameters": _known(parameters),
        "quantitativeAnalysis": _known({"performanceMetrics": _metrics(facts)}),
        "considerations": _known(considerations),
    }
    hashed = _DIGEST.fullmatch(version.package) is not None
    origins = {"run": version.run, "verdict": version.verdict or "", "code": facts.code or ""}
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{version.ref}",
            "name": version.model,
            "version": str(version.number),
            "description": facts.description or (about.problem if about else ""),
            "hashes": [{"alg": "BLAKE3", "content": version.package}] if hashed else [],
            "modelCard": _known(card),
            "properties": [
                {"name": f"treadle:{name}", "value": value}
                for name, value in origins.items()
                if value
            ],
        }
    )


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    """The measured figures of the verdict, with their intervals."""
    metrics = []
    for finding in facts.verdict.findings if facts.verdict else []:
        if finding.value is None or finding.check in NO_METRICS:
            continue
        metric: dict[str, Any] = {
            "type": finding.metric,
            "value": f"{finding.value:.6g}",
            "slice": finding.check,
        }
        if finding.low is not None and finding.high is not None:
            metric["confidenceInterval"] = {
                "lowerBound": f"{finding.low:.6g}",
                "upperBound": f"{finding.high:.6g}",
            }
        metrics.append(metric)
    return metrics


def _data_ref(dataset: Input) -> str:
    return f"data:{dataset.name}:{dataset.digest}"


def _dataset(dataset: Input) -> dict[str, Any]:
    facts = {"type": "dataset", "name": dataset.name, "classification": dataset.sensitivity}
    content: dict[str, Any] = _known(facts)
    if dataset.owner:
        content["governance"] = {"owners": [{"organization": {"name": dataset.owner}}]}
    return _known(
        {
            "type": "data",
            "bom-ref": _data_ref(dataset),
            "name": dataset.name,
            "version": dataset.digest,
            "hashes": [{"alg": "BLAKE3", "content": dataset.digest}] if dataset.kept else [],
            "licenses": [{"license": {"name": dataset.licence}}] if dataset.licence else [],
            "data": [content],
        }
    )


def _packages(facts: Facts) -> list[dict[str, Any]]:
    """The packages of the environment; those from local folders have no package URL."""
    if facts.environment is None:
        return []
    components = []
    for name, version in facts.environment.packages.items():
        component = library(name, version)
        if name in facts.environment.from_folders:
            del component["purl"]
        components.append(component)
    return components


def library(name: str, version: str) -> dict[str, Any]:
    """Return a Python package as a component, under its package URL.

    Args:
        name: The package's name.
        version: Its version.
    """
    normal = re.sub(r"[-_.]+", "-", name).lower()
    purl = f"pkg:pypi/{quote(normal, safe='')}@{quote(version, safe='')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts that are known: those that are neither empty nor None."""
    return {key: value for key, value in facts.items() if value not in ("", [], {}, None)}
