"""The verbs of those who answer for models: cards, bills of materials, and who saw which data."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.output import (
    Home,
    Json,
    Token,
    Url,
    console,
    open_services,
    print_json,
    print_table,
)

Version = Annotated[str, typer.Argument(help="NAME@ALIAS, NAME:NUMBER or NAME.")]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="A file to write, instead of standard output.")
]
FORMATS = ("md", "html", "json")


def add_to(app: typer.Typer) -> None:
    app.command()(card)
    app.command()(bom)
    app.command()(seen)


def card(
    version: Version,
    format: Annotated[
        str | None, typer.Option(help="'md' with Hugging Face's front matter, 'html', or 'json'.")
    ] = None,
    out: Out = None,
    home: Home = None,
    url: Url = None,
    token: Token = None,
) -> None:
    """Write a version's model card, drawn from the facts."""
    from treadle.kernel.errors import Invalid, did_you_mean

    wanted = format or (
        out.suffix.lstrip(".") if out and out.suffix.lstrip(".") in FORMATS else "md"
    )
    if wanted not in FORMATS:
        raise Invalid(f"There is no format '{wanted}'.{did_you_mean(wanted, FORMATS)}")
    text = open_services(home, url, token).lineage.card(version=version, format=wanted)  # type: ignore[arg-type]
    _write(text, out)


def bom(
    version: Version, out: Out = None, home: Home = None, url: Url = None, token: Token = None
) -> None:
    """Write a version's bill of materials as CycloneDX 1.6: the model, its data, its packages."""
    import msgspec

    from treadle.kernel.entity import to_json

    found = open_services(home, url, token).lineage.bom(version=version)
    _write(msgspec.json.format(to_json(found), indent=2).decode() + "\n", out)


def seen(
    data: Annotated[
        str, typer.Argument(help="A dataset version's digest, or its first characters.")
    ],
    home: Home = None,
    url: Url = None,
    token: Token = None,
    json: Json = False,
) -> None:
    """Show which models saw a dataset version, those that are deployed first."""
    found = open_services(home, url, token).lineage.seen(data=data)
    if json:
        print_json(found)
        return
    rows = [
        (one.version, ", ".join(one.endpoints), one.dataset, one.run, "yes" if one.deleted else "")
        for one in found
    ]
    print_table("", ("version", "live on", "dataset", "run", "deleted"), rows)
    if not found:
        console.print("Runs have read it; no version was made of them.")


def _write(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        console.print(f"Wrote '{out}'.")
