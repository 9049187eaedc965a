"""Bills of materials in CycloneDX 1.6: the model, what it was trained on, and what it was made with."""

import re
from importlib.metadata import version as version_of
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from treadle.registry.facts import Facts, Input

NO_METRICS = ("answers", "champion")
"""Checks of a verdict whose figures are no measure of the model alone."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


def cyclonedx(facts: Facts) -> dict[str, Any]:
    """The bill of one version. The same facts give the same bill, serial number included."""
    model, data, packages = _model(facts), [_dataset(one) for one in facts.data], _packages(facts)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, f'treadle:{facts.version.ref}:{facts.version.package or facts.version.source}')}",
        "version": 1,
        "metadata": {
            "timestamp": facts.version.created_at.isoformat().replace("+00:00", "Z"),
            "tools": {
                "components": [
                    {"type": "application", "name": "treadle", "version": version_of("treadle")}
                ]
            },
            "component": model,
        },
        "components": [*data, *packages],
        "dependencies": [
            {"ref": model["bom-ref"], "dependsOn": [one["bom-ref"] for one in [*data, *packages]]}
        ],
    }


def _model(facts: Facts) -> dict[str, Any]:
    version = facts.version
    about = facts.about
    parameters = {
        "task": facts.task,
        "datasets": [{"ref": _data_ref(one)} for one in facts.data],
        "inputs": [
            {"format": f"{field.name}: {field.kind}"}
            for field in (facts.signature.inputs if facts.signature else [])
        ],
        "outputs": [{"format": facts.signature.output}] if facts.signature else [],
    }
    considerations = {
        "users": [about.users] if about and about.users else [],
        "useCases": [about.problem] if about and about.problem else [],
        "technicalLimitations": facts.limits,
    }
    return _known(
        {
            "type": "machine-learning-model",
            "bom-ref": f"model:{version.ref}",
            "name": version.model,
            "version": str(version.number),
            "description": facts.description or (about.problem if about else ""),
            "hashes": [{"alg": "BLAKE3", "content": version.package}]
            if _DIGEST.fullmatch(version.package)
            else [],
            "modelCard": _known(
                {
                    "modelParameters": _known(parameters),
                    "quantitativeAnalysis": _known({"performanceMetrics": _metrics(facts)}),
                    "considerations": _known(considerations),
                }
            ),
            "properties": [
                {"name": f"treadle:{name}", "value": value}
                for name, value in (
                    ("run", version.run),
                    ("verdict", version.verdict or ""),
                    ("code", facts.code or ""),
                )
                if value
            ],
        }
    )


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    found = []
    for finding in facts.verdict.findings if facts.verdict else []:
        if finding.value is None or finding.check in NO_METRICS:
            continue
        one: dict[str, Any] = {
            "type": finding.metric,
            "value": f"{finding.value:.6g}",
            "slice": finding.check,
        }
        if finding.low is not None and finding.high is not None:
            one["confidenceInterval"] = {
                "lowerBound": f"{finding.low:.6g}",
                "upperBound": f"{finding.high:.6g}",
            }
        found.append(one)
    return found


def _data_ref(one: Input) -> str:
    return f"data:{one.name}:{one.digest}"


def _dataset(one: Input) -> dict[str, Any]:
    about = {"type": "dataset", "name": one.name, "classification": one.sensitivity}
    about_known: dict[str, Any] = _known(about)
    if one.owner:
        about_known["governance"] = {"owners": [{"organization": {"name": one.owner}}]}
    return _known(
        {
            "type": "data",
            "bom-ref": _data_ref(one),
            "name": one.name,
            "version": one.digest,
            "hashes": [{"alg": "BLAKE3", "content": one.digest}] if one.kept else [],
            "licenses": [{"license": {"name": one.licence}}] if one.licence else [],
            "data": [about_known],
        }
    )


def _packages(facts: Facts) -> list[dict[str, Any]]:
    """The packages of the environment, each under its package URL."""
    if facts.environment is None:
        return []
    found = []
    for name, version in facts.environment.packages.items():
        one = library(name, version)
        if name in facts.environment.from_folders:
            del one["purl"]
        found.append(one)
    return found


def library(name: str, version: str) -> dict[str, Any]:
    """A Python package as a component, under its package URL."""
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{quote(version, safe='')}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts without those that are not known."""
    return {key: value for key, value in facts.items() if value not in ("", [], {}, None)}
