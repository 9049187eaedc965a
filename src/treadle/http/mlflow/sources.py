"""Refuses sources of versions that lead out of their place, and follows those that are versions."""

import re
from urllib.parse import unquote_plus, urlsplit

from treadle.http.mlflow.states import artifact_root
from treadle.kernel.errors import Invalid, NotFound
from treadle.platform.wiring import Embedded

LONGEST, MOST_QUOTED = 2_000, 10
"""Characters of a source, and how often it may be quoted."""


def check_source(platform: Embedded, source: str, run: str, model: str) -> None:
    """Refuse a source that clients could use to reach files that are not theirs.

    Args:
        platform: The services that answer.
        source: The source, as a client gives it.
        run: The run that the request names; empty for none.
        model: The logged model that the request names; empty for none.

    Raises:
        Invalid: The source is a local path, has relative parts, or lies in the server's own store
            outside what the request names.
    """
    plain = _unquoted(source)
    try:
        place = urlsplit(plain)
    except ValueError as error:
        raise Invalid(f"Invalid model version source: '{source}'. It is no URI.") from error
    if place.scheme in ("", "file") or len(place.scheme) == 1:
        raise Invalid(
            f"Invalid model version source: '{source}'. A local path is on the client's machine, "
            "where the server cannot read it. Log the model to a run and register its URI."
        )
    if "\0" in plain or ".." in plain.split("/"):
        raise Invalid(
            f"Invalid model version source: '{source}'. If supplying a source as an http, https, "
            "local file path, ftp, objectstore, or mlflow-artifacts uri, an absolute path must be "
            "provided without relative path references present. Please provide an absolute path."
        )
    if place.scheme == "mlflow-artifacts" and (run or model):
        try:
            root = artifact_root(platform, run=run, model=model)
        except NotFound:
            root = ""
        if not root or (plain.rstrip("/") != root and not plain.startswith(f"{root}/")):
            raise Invalid(
                f"Invalid model version source: '{source}'. "
                f"The {'model_id' if model else 'run_id'} request parameter must identify the "
                "resource that contains the source."
            )


def _unquoted(source: str) -> str:
    if len(source) > LONGEST:
        raise Invalid(f"A model version source has {LONGEST:,} characters at most.")
    for _ in range(MOST_QUOTED):
        unquoted = unquote_plus(source)
        if unquoted == source:
            return source
        source = unquoted
    raise Invalid(f"A model version source is quoted {MOST_QUOTED} times at most.")


def version_in(source: str) -> tuple[str, int] | None:
    """Return the version that a source such as ``models:/churn/3`` names, or None.

    Args:
        source: The source.
    """
    parts = source.removeprefix("models:/").split("/")
    if source.startswith("models:/") and len(parts) == 2 and re.fullmatch("[0-9]{1,9}", parts[1]):
        return parts[0], int(parts[1])
    return None
