"""Reads CSV files of requests and of labels, and asks endpoints."""

import csv
from collections.abc import Sequence
from pathlib import Path

import httpx
from rich.progress import track

from treadle.cli.output import errors
from treadle.data.model import Label
from treadle.delivery.model import Endpoint
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, NotFound, TreadleError, Unavailable, did_you_mean
from treadle.stats.classes import Truth, known_as


class Answer(Entity):
    """What an endpoint answered to one request, and the version that did."""

    request: str
    prediction: float | list[float]
    version: str


def ask_rows(endpoint: Endpoint, file: Path, id_column: str) -> list[Answer]:
    """Ask an endpoint about each row of a CSV file, one request a row.

    Columns that are not the model's inputs are left out.

    Args:
        endpoint: The endpoint, with the URLs of its processes.
        file: The CSV file, in UTF-8 and with a header.
        id_column: The column that names each request.

    Returns:
        An answer for each row, in the rows' order.

    Raises:
        Unavailable: No process answers for the endpoint.
        NotFound: There is no such file.
        Invalid: A column is missing, or holds something else than numbers where it should.
        TreadleError: The endpoint refused a request.
    """
    if not endpoint.urls:
        raise Unavailable(
            f"No process answers for endpoint '{endpoint.name}'. Is 'treadle up' running?"
        )
    rows = _rows(file, id_column)
    with httpx.Client(base_url=endpoint.urls[0], timeout=30) as client:
        described = client.get(f"/v2/models/{endpoint.name}").json()
        kinds = {
            column: tensor["datatype"]
            for tensor in described["inputs"]
            for column in tensor.get("parameters", {}).get("columns", [tensor["name"]])
        }
        tracked_rows = track(
            rows, "asking", console=errors, transient=True, disable=not errors.is_terminal
        )
        return [_ask(client, row[id_column], _inputs(row, kinds, file)) for row in tracked_rows]


def read_labels(
    file: Path,
    id_column: str,
    value_column: str,
    positive: str | None = None,
    classes: Sequence[str] = (),
) -> list[Label]:
    """Return the labels that a CSV file holds, one a row.

    Args:
        file: The CSV file, in UTF-8 and with a header.
        id_column: The column that names the request.
        value_column: The column that holds the truth.
        positive: The word that counts as 1, all others as 0; None reads numbers and classes.
        classes: Names of the project's classes, as far as they are known.

    Raises:
        NotFound: There is no such file.
        Invalid: A column is missing, or holds something else than numbers and classes, or
            ``positive`` never occurs and looks like a word that does.
    """
    rows = _rows(file, id_column)
    _demand(value_column, rows[0], file)
    words = list(dict.fromkeys(row[value_column] for row in rows))
    if positive is not None and positive not in words:
        hint = _hint(positive, words)
        if hint.startswith("; did"):  # none may be positive, and a slip of the pen is none of these
            raise Invalid(f"{file}: '{positive}' never occurs in column '{value_column}'{hint}")
    values = {word: _truth(word, positive, classes) for word in words}
    unreadable = next((word for word, value in values.items() if value is None), None)
    if unreadable is not None and classes:
        raise Invalid(
            f"{file}: '{unreadable}' never occurs among the classes{_hint(unreadable, classes)} "
            "A class that production has shown first is declared among the new_classes of the "
            "dataset in treadle.toml."
        )
    if unreadable is not None:
        raise Invalid(
            f"{file}: column '{value_column}' holds something that is not a number: could not "
            f"convert string to float: {unreadable!r}. "
            "Where it holds words, name the one that counts as 1 with --positive."
        )
    return [
        Label(request=row[id_column], value=value)
        for row in rows
        if (value := values[row[value_column]]) is not None
    ]


def _truth(text: str, positive: str | None, classes: Sequence[str]) -> Truth | None:
    """A truth as a label; None for what is neither a number nor one of the classes."""
    if positive is not None:
        return float(text == positive)
    name, known = known_as(text), {known_as(each) for each in classes}
    if isinstance(name, str) or text.lower() in ("true", "false"):
        return text if name in known else None
    if name is None or (len(classes) > 2 and name not in known):
        return None
    in_words = len(classes) > 2 and any(isinstance(each, str) for each in known)
    return text if in_words else name


def _hint(word: str, classes: Sequence[str]) -> str:
    hint = did_you_mean(word, classes).strip()
    hint = hint if hint.endswith(("?", ".")) else f"{hint}."
    return f"; d{hint[1:]}" if hint.startswith("Did") else f". {hint}"


def _ask(client: httpx.Client, request: str, inputs: dict[str, str | float | None]) -> Answer:
    answer = client.post(
        "/invocations", json={"dataframe_records": [inputs]}, headers={"X-Request-Id": request}
    )
    if answer.status_code != 200:
        raise TreadleError(
            f"Request '{request}' was answered {answer.status_code}: {answer.json().get('error')}"
        )
    prediction = answer.json()["predictions"][0]
    return Answer(
        request=request, prediction=prediction, version=answer.headers["x-treadle-version"]
    )


def _inputs(
    row: dict[str, str], kinds: dict[str, str], file: Path
) -> dict[str, str | float | None]:
    inputs: dict[str, str | float | None] = {}
    for name, kind in kinds.items():
        _demand(name, row, file)
        try:
            inputs[name] = (
                None if row[name] == "" else row[name] if kind == "BYTES" else float(row[name])
            )
        except ValueError as error:
            raise Invalid(
                f"{file}: column '{name}' holds '{row[name]}', which is not a number."
            ) from error
    return inputs


def _rows(file: Path, id_column: str) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            rows = list(csv.DictReader(handle))
    except FileNotFoundError as error:
        raise NotFound(f"There is no file '{file}'.") from error
    if not rows:
        raise Invalid(f"'{file}' has no rows.")
    _demand(id_column, rows[0], file)
    return rows


def _demand(column: str, row: dict[str, str], file: Path) -> None:
    if column not in row:
        raise Invalid(
            f"'{file}' has no column '{column}'. It has: {', '.join(map(str, row))}. "
            "Requests are named with --id."
        )
