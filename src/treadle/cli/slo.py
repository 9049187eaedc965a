"""The verbs of service level objectives: how they stand, and files for other tools."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from treadle.cli.output import console, print_json, print_table
from treadle.cli.verbs import Project, Session

if TYPE_CHECKING:
    from treadle.monitoring.slo.model import SloStatus

COLOURS = {"met": "green", "page": "red", "spent": "red", "ticket": "yellow", "no data": "dim"}
NO_OBJECTIVES = (
    "No objective is declared for an endpoint that serves. Write one into treadle.toml, "
    'such as: [[requirement]] id = "UP" metric = "availability" objective = "99.9%"'
)
COLUMNS = ("slo", "endpoint", "objective", "share", "budget left", "burn rates", "state")


def show(session: Session, project: Project = None) -> None:
    """List objectives: their share of good events, error budget, burn rates and alerts."""
    found = session.services().slo.status(project=project)
    if session.json:
        print_json(found)
    elif not found:
        console.print(NO_OBJECTIVES, markup=False, soft_wrap=True)
    else:
        print_objectives("", found)


def render(
    session: Session,
    format: Annotated[
        Literal["prometheus", "openslo", "grafana"],
        typer.Option(help="The file to write.", metavar="[prometheus|openslo|grafana]"),
    ] = "prometheus",
    project: Project = None,
    server: Annotated[
        bool,
        typer.Option("--server", help="Print Prometheus' rules over the server's own metrics."),
    ] = False,
) -> None:
    """Print objectives as rules of Prometheus, as OpenSLO v1, or as a dashboard of Grafana's.

    Use it as in: treadle slo render > rules.yaml
    """
    import msgspec

    from treadle.kernel.entity import to_json
    from treadle.kernel.errors import Invalid
    from treadle.monitoring.server_rules import server_rules
    from treadle.monitoring.slo.openslo import openslo
    from treadle.monitoring.slo.prometheus_rules import grafana_dashboard, prometheus_rules
    from treadle.platform.watchdog import silence_seconds

    if server:
        if format != "prometheus":
            raise Invalid("With --server the format is prometheus.")
        text = server_rules(silence_seconds())
        print_json({"format": format, "text": text}) if session.json else typer.echo(text, nl=False)
        return
    slos = session.services().slo.status(project=project)
    if format == "grafana":
        dashboard = grafana_dashboard(slos)
        text = msgspec.json.format(to_json(dashboard), indent=2).decode() + "\n"
    else:
        text = prometheus_rules(slos) if format == "prometheus" else openslo(slos)
    if session.json:
        print_json({"format": format, "text": text})
    else:
        typer.echo(text, nl=False)


def import_(
    session: Session,
    file: Annotated[Path, typer.Argument(help="A YAML file with SLOs as OpenSLO v1.")],
) -> None:
    """Print OpenSLO's objectives as tables for treadle.toml.

    Use it as in: treadle slo import FILE >> treadle.toml
    """
    from treadle.monitoring.slo.openslo import requirements_of, requirements_toml

    requirements = requirements_of(_documents(file))
    if session.json:
        print_json(requirements)
    else:
        typer.echo(requirements_toml(requirements), nl=False)


def print_objectives(title: str, slos: "list[SloStatus]") -> None:
    """Print a table of objectives.

    Args:
        title: Title of the table.
        slos: The objectives.
    """
    print_table(title, COLUMNS, [_row(slo) for slo in slos], colours=COLOURS)


def _row(slo: "SloStatus") -> tuple[Any, ...]:
    share = f"{slo.share:.4%} of {slo.total} {slo.of}" if slo.share is not None else "no data"
    left = f"{slo.budget_left:.1%}" if slo.budget_left is not None else "no data"
    rates = [f"{pair.long} {_rate(pair.long_rate)}" for pair in slo.burn_rates]
    since = f" since {slo.since:%Y-%m-%d %H:%M}" if slo.since else ""
    wanted = f"{slo.condition}: {slo.objective:.10g} over {slo.over}"
    return (
        slo.slo,
        slo.endpoint,
        wanted,
        share,
        left,
        ", ".join(rates),
        f"{slo.state}{since}",
    )


def _rate(rate: float | None) -> str:
    return "no data" if rate is None else f"{rate:.3g}"


def _documents(file: Path) -> list[Any]:
    from treadle.kernel.errors import Invalid, NotFound, missing_extra

    try:
        import yaml
    except ModuleNotFoundError as error:
        raise missing_extra("kubernetes", "Reading YAML") from error
    try:
        return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise NotFound(f"There is no '{file}'. Name a file with SLOs as OpenSLO v1.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise Invalid(f"'{file}' is no YAML: {error}") from error
