"""Offers the shell names of what is there: runs, models, versions, endpoints and more.

A shell asks while somebody types, so what goes wrong offers nothing and says nothing. It puts a
name into the line as it is, so a name that a shell would not take as one word is not offered.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from treadle.kernel.escaping import shell

if TYPE_CHECKING:
    from treadle.platform.stages import Services

Complete = Callable[[typer.Context, str], list[str]]
MOST_OFFERED = 200


def _offering(names: "Callable[[Services], Iterable[str]]") -> Complete:
    """A function that Typer calls for a parameter: names that begin with what was typed."""

    def offered(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            known = list(names(_services(ctx.params)))
        except Exception:
            return []  # an error here would be printed into the line that somebody types
        plain = (name for name in dict.fromkeys(known) if shell(name) == name)
        return [name for name in plain if name.startswith(incomplete)]

    return offered


def _services(given: dict[str, Any]) -> "Services":
    from treadle.cli.output import open_services

    return open_services(given.get("home"), given.get("url"), given.get("token"))


def _run_names(services: "Services") -> Iterable[str]:
    newest = services.tracking.find(limit=MOST_OFFERED)
    return [run.id for run in newest] + [run.name for run in newest]


def _version_refs(services: "Services") -> Iterable[str]:
    for version in services.registry.find(limit=MOST_OFFERED):
        yield version.ref
        yield from (f"{version.model}@{alias}" for alias in version.aliases)


def _dataset_names(services: "Services") -> Iterable[str]:
    return [name for project in services.scope.projects() for name in project.spec.data]


def _why_subjects(services: "Services") -> Iterable[str]:
    yield from _version_refs(services)
    yield from (endpoint.name for endpoint in services.delivery.endpoints())


def _step_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """The steps of the project in this folder."""
    from treadle.pipelines.step import read_steps
    from treadle.scope.file import nearest, read

    del ctx
    try:
        folder = nearest(Path.cwd()) or Path.cwd()
        steps = read_steps(folder / read(folder).pipeline.file)
    except Exception:
        return []  # as above
    return [step.name for step in steps if step.name.startswith(incomplete)]


RUNS = _offering(_run_names)
MODELS = _offering(lambda services: [model.name for model in services.registry.models()])
VERSIONS = _offering(_version_refs)
ENDPOINTS = _offering(lambda services: [each.name for each in services.delivery.endpoints()])
PROJECTS = _offering(lambda services: [project.name for project in services.scope.projects()])
DATASETS = _offering(_dataset_names)
JOBS = _offering(lambda services: [job.id for job in services.jobs.find(limit=MOST_OFFERED)])
SUBJECTS = _offering(_why_subjects)
STEPS: Complete = _step_names

BY_NAMED: dict[str, Complete] = {
    "run": RUNS,
    "model": MODELS,
    "version": VERSIONS,
    "endpoint": ENDPOINTS,
    "project": PROJECTS,
}
"""What is offered for a parameter of an operation, by what the parameter names."""
