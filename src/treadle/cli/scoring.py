"""The verb ``treadle predict``: a model's answers to the rows of a file."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli.output import console, print_json, progress_bar
from treadle.cli.verbs import Session


def predict(
    session: Session,
    model: Annotated[
        str, typer.Argument(help="NAME@ALIAS, NAME:NUMBER, a model folder, or an .onnx file.")
    ],
    source: Annotated[
        Path,
        typer.Argument(help="A Parquet or CSV file with a column for each of the model's inputs."),
    ],
    to: Annotated[
        Path,
        typer.Argument(
            help="The Parquet or CSV file to write: all columns, and what the model says."
        ),
    ],
    rows_at_once: Annotated[
        int, typer.Option(min=1, help="Rows that are scored and kept together.")
    ] = 65_536,
    log: Annotated[
        bool,
        typer.Option(
            "--log",
            help="Keep the answers in the inference log: labels join them, monitors look at them, "
            "and retraining learns from them, as from an endpoint's.",
        ),
    ] = False,
    id: Annotated[
        str,
        typer.Option(
            metavar="COLUMN", help="With --log: what names a row. Default: the id in treadle.toml."
        ),
    ] = "",
) -> None:
    """Score a Parquet or CSV file, its rows in their order. A stopped run goes on where it was."""
    from treadle.platform import serving
    from treadle.serving.batch import score_file

    asked = serving.find(model, session.services)
    kept = serving.batch_log(asked, session.services, id) if log else None
    served = serving.open_served(asked, session.home / "serving", session.services)
    with progress_bar(session.json) as progress:
        scored = score_file(
            served, source, to, rows_at_once=rows_at_once, log=kept, progress=progress
        )
    if session.json:
        print_json(scored)
        return
    again = f", {scored.resumed:,} of them from before" if scored.resumed else ""
    failed = ""
    if scored.failed:
        failed = f" {scored.failed:,} rows failed; column 'prediction_error' says why."
    console.print(
        f"{scored.rows:,} rows scored by {scored.version}{again}: {scored.file}.{failed}",
        markup=False,
    )
    if kept is not None and scored.kept:
        console.print(
            f"{scored.kept:,} answers are in the inference log of '{asked.name}'; "
            f"labels join them by '{kept.id}'.",
            markup=False,
        )
    elif kept is not None:
        console.print("This file's answers are in the inference log already.")
