"""The verbs of those who answer for models: cards, bills of materials, and who saw which data."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import completing
from treadle.cli.output import console, print_json, print_table
from treadle.cli.verbs import Session, add_verbs

Version = Annotated[
    str,
    typer.Argument(help="NAME@ALIAS, NAME:NUMBER or NAME.", autocompletion=completing.VERSIONS),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="A file to write, instead of standard output.")
]
FORMATS = ("md", "html", "json")


def add_to(app: typer.Typer) -> None:
    """Add the verbs to the app.

    Args:
        app: The app.
    """
    add_verbs(app, card, bom, seen)


def card(
    session: Session,
    version: Version,
    format: Annotated[
        str | None, typer.Option(help="'md' with Hugging Face's front matter, 'html', or 'json'.")
    ] = None,
    out: Out = None,
) -> None:
    """Write a version's model card, drawn from the facts."""
    from treadle.kernel.entity import from_json
    from treadle.kernel.errors import Invalid, did_you_mean

    suffix = out.suffix.lstrip(".") if out else ""
    chosen = format or (suffix if suffix in FORMATS else "json" if session.json else "md")
    if chosen not in FORMATS:
        raise Invalid(f"There is no format '{chosen}'.{did_you_mean(chosen, FORMATS)}")
    text = session.services().lineage.card(version=version, format=chosen)  # type: ignore[arg-type]
    _write(text, out, from_json(text, object) if chosen == "json" else text, json=session.json)


def bom(session: Session, version: Version, out: Out = None) -> None:
    """Write a version's bill of materials as CycloneDX 1.6: the model, its data, its packages."""
    import msgspec

    from treadle.kernel.entity import to_json

    bill = session.services().lineage.bom(version=version)
    text = msgspec.json.format(to_json(bill), indent=2).decode() + "\n"
    _write(text, out, bill, json=session.json)


def seen(
    session: Session,
    data: Annotated[
        str, typer.Argument(help="A dataset version's digest, or its first characters.")
    ],
) -> None:
    """Show which models saw a dataset version, those that are deployed first."""
    models = session.services().lineage.seen(data=data)
    if session.json:
        print_json(models)
        return
    rows = [
        (
            model.version,
            ", ".join(model.endpoints),
            model.dataset,
            model.run,
            "yes" if model.deleted else "",
        )
        for model in models
    ]
    print_table("", ("version", "live on", "dataset", "run", "deleted"), rows)
    if not models:
        console.print("Runs have read it; no version was made of them.")


def _write(text: str, out: Path | None, value: object, *, json: bool) -> None:
    """Write a document to a file, or print it: as text, or as the JSON value that it stands for."""
    if out is not None:
        out.write_text(text, encoding="utf-8")
    if json:
        print_json(value if out is None else {"file": str(out)})
    elif out is None:
        typer.echo(text, nl=False)
    else:
        console.print(f"Wrote '{out}'.", markup=False)
