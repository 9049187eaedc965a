"""Packages every estimator of scikit-learn, bare, scaled and behind columns, and says by which way.

Each line of the output is one model; ``--page FILE`` writes all of them as a table in Markdown.
"""

import argparse
import contextlib
import inspect
import io
import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

from treadle.kernel.errors import TreadleError
from treadle.platform.runtimes import Exporters, Runtimes
from treadle.training.package import Model

ROWS = 2_000
FORMS = ("bare", "scaled", "columns")
NUMBERS = [*"abcde"]


def tables() -> tuple[Any, Any, Any]:
    """A frame of numbers and a text, two classes, and a number to predict."""
    dice = np.random.default_rng(0)
    frame = pd.DataFrame(dice.normal(size=(ROWS, 5)) * [1, 10, 1e3, 1e-2, 1], columns=NUMBERS)
    target = frame["a"] * 2 + frame["b"] ** 2 / 100 + 1 + 0.1 * dice.normal(size=ROWS)
    frame["kind"] = dice.choice(["u", "v", "w"], ROWS)
    return frame, (target > 2).astype(int), np.abs(target) + 0.1


def estimators() -> Iterator[tuple[str, str, Any]]:
    """Each estimator's name, kind and a new instance; ensembles get two linear models."""
    detectors = [(name, kind) for name, kind in all_estimators() if hasattr(kind, "fit_predict")]
    detectors = [(name, kind) for name, kind in detectors if hasattr(kind, "decision_function")]
    kinds = {"classifier": all_estimators("classifier"), "regressor": all_estimators("regressor")}
    for role, every in [*kinds.items(), ("detector", detectors)]:
        simple = LogisticRegression() if role == "classifier" else LinearRegression()
        for name, kind in every:
            wanted = inspect.signature(kind).parameters
            options: dict[str, Any] = {}
            if "estimators" in wanted:
                options["estimators"] = [("one", simple), ("two", simple)]
            elif wanted and wanted.get("estimator", wanted[next(iter(wanted))]).default is (
                inspect.Parameter.empty
            ):
                options[next(iter(wanted))] = simple
            with contextlib.suppress(Exception):
                yield name, role, kind(**options)


def packaged(estimator: Any, inputs: Any) -> dict[str, Any]:
    """How a fitted estimator is packaged: the way and its speed, or the refusal."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        try:
            model = Model(estimator, inputs)
            model.save(Path(folder), Exporters(), Runtimes(trusted=True))
        except TreadleError as error:
            return {"way": "refused", "reason": error.message}
        taken = model.attempts[-1]
        return {
            "way": taken.way,
            "rows_per_second": round(taken.rows_per_second),
            "micros_per_row": round(taken.micros_per_row),
            "reason": "; ".join(f"{one.way}: {one.refusal}" for one in model.attempts[:-1]),
        }


def models(every: int) -> Iterator[dict[str, Any]]:
    """Each model's line."""
    frame, classes, numbers = tables()
    for name, role, estimator in list(estimators())[::every]:
        target = numbers if role == "regressor" else classes
        for form in FORMS:
            inputs, model = frame[NUMBERS], estimator
            if form == "scaled":
                model = make_pipeline(StandardScaler(), estimator)
            elif form == "columns":
                encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
                parts = (StandardScaler(), NUMBERS), (encode, ["kind"])
                inputs, model = frame, make_pipeline(make_column_transformer(*parts), estimator)
            line = {"estimator": name, "kind": role, "form": form}
            try:
                model.fit(inputs, target)
            except Exception as error:
                reason = str(error).splitlines()[0]
                yield {**line, "way": "not fitted", "reason": reason}
            else:
                yield {**line, **packaged(model, inputs)}


def page(lines: list[dict[str, Any]]) -> str:
    """The table of all models, in Markdown."""
    rows, reasons = [], []
    for name, role in dict.fromkeys((one["estimator"], one["kind"]) for one in lines):
        cells = []
        for one in (line for line in lines if line["estimator"] == name and line["kind"] == role):
            speed = f", {one['rows_per_second']:,}/s" if "rows_per_second" in one else ""
            cells.append(f"{one['way']}{speed}")
            if one["way"] in ("refused", "not fitted") and one["form"] == "bare":
                reason = one["reason"].replace("|", "/").replace("<", "").replace(">", "")
                reasons.append(f"- `{name}`: {reason[:300]}")
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(
        ["| estimator | bare | scaled | columns |", "|---|---|---|---|", *rows, "", *reasons, ""]
    )


def main() -> None:
    """Read the command line, and print the lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take each N-th estimator only")
    parser.add_argument("--page", type=Path, help="a file that the table is written to")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = []
    for line in models(given.every):
        print(json.dumps(line), flush=True)
        lines.append(line)
    if given.page:
        given.page.write_text(page(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
