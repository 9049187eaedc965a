"""``treadle init``: a project that runs as it is, on a made-up dataset or on a CSV file of one's own."""

import random
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import duckdb

from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean

ROWS = 4000
NUMERIC = ("BIGINT", "HUGEINT", "DOUBLE")
KINDS = [
    "BIGINT",
    "DOUBLE",
    "DATE",
    "TIMESTAMP",
    "VARCHAR",
]  # yes/no and true/false are text: so every reader sees them alike


class Table(NamedTuple):
    """What a CSV file holds, as far as a first model needs to know."""

    text: list[str]
    numbers: list[str]
    left_out: list[str]
    label: str
    positive: str | None
    two_classes: bool
    id: str | None


def scaffold(
    name: str, where: Path, csv: Path | None = None, label: str | None = None, id: str | None = None
) -> tuple[Path, Table]:
    """Make the folder ``where/name``. Gives it, and what was seen in the CSV.

    Raises Conflict when the folder is there already, Invalid when the CSV does not fit.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise Invalid(
            f"'{name}' cannot name a project: use lower-case letters, digits and hyphens, 63 at most."
        )
    folder = where / name
    if folder.exists():
        raise Conflict(f"'{folder}' exists already. Choose another name.")
    if csv is not None:
        if label is None:
            raise Invalid("Which column is to be predicted? Name it with --label.")
        table, source = look_at(csv, label, id), csv.name
    else:
        table, source = (
            Table(["contract"], ["months", "support_calls", "price"], [], "left", None, True, "id"),
            "customers.csv",
        )
    with as_file(files("treadle.cli").joinpath("template")) as template:
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__"))
    _fill(folder / "treadle.toml", name, source, table)
    _fill(folder / "pipeline.py", name, source, table)
    (folder / ".gitignore").write_text(".treadle/\n", encoding="utf-8")
    (folder / "data").mkdir()
    if csv is not None:
        _copy(csv, folder / "data" / source)
    else:
        (folder / "data" / source).write_text(customers(ROWS, seed=7), encoding="utf-8")
        (folder / "data" / "new-customers.csv").write_text(
            customers(300, seed=8, start=ROWS), encoding="utf-8"
        )
    return folder, table


def look_at(csv: Path, label: str, id: str | None) -> Table:
    """Tell text from numbers, and what kind of thing the label is."""
    if not csv.is_file():
        raise NotFound(f"There is no file '{csv}'.")
    with duckdb.connect() as db:
        try:
            relation = db.sql(
                f"SELECT * FROM read_csv({_text(csv)}, auto_type_candidates = {KINDS}, header = true)"
            )
            rows = len(relation)
        except duckdb.Error as error:
            what = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise Invalid(f"'{csv}' cannot be read as CSV in UTF-8: {what[:300]}") from error
        if not rows:
            raise Invalid(f"'{csv}' has no rows below its header.")
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        for column in (label, *([id] if id else [])):
            if column not in kinds:
                raise Invalid(f"'{csv}' has no column '{column}'.{did_you_mean(column, kinds)}")
        values = [
            v
            for (v,) in relation.project(f'"{label}"').distinct().limit(3).fetchall()
            if v is not None
        ]
    inputs = {column: kind for column, kind in kinds.items() if column not in (label, id)}
    numbers = [column for column, kind in inputs.items() if kind.startswith(NUMERIC)]
    text = [column for column, kind in inputs.items() if kind == "VARCHAR"]
    two, numeric = len(values) == 2, kinds[label].startswith(NUMERIC)
    if not two and not numeric:
        raise Invalid(
            f"Column '{label}' is neither a number nor one of two values, so this template cannot predict it."
        )
    positive = None if not two or (numeric and sorted(values) == [0, 1]) else repr(max(values))
    return Table(
        text, numbers, [c for c in inputs if c not in text + numbers], label, positive, two, id
    )


def customers(rows: int, *, seed: int, start: int = 0) -> str:
    """Made-up customers of a phone company: who leaves depends on contract, months, calls to support and price."""
    chance = random.Random(seed)
    lines = ["id,contract,months,support_calls,price,left"]
    for number in range(start, start + rows):
        contract = chance.choice(["monthly", "monthly", "yearly", "two years"])
        months, calls = chance.randint(1, 72), min(chance.getrandbits(3), chance.getrandbits(3))
        price = round(chance.uniform(15, 110), 2)
        risk = (
            0.08
            + 0.25 * (contract == "monthly")
            + 0.06 * calls
            - 0.003 * months
            + 0.002 * (price - 60)
        )
        lines.append(
            f"c{number:05},{contract},{months},{calls},{price},{int(chance.random() < risk)}"
        )
    return "\n".join(lines) + "\n"


def _fill(file: Path, name: str, source: str, table: Table) -> None:
    """Put a table's facts where the template has capitals."""
    estimator = (
        "HistGradientBoostingClassifier" if table.two_classes else "HistGradientBoostingRegressor"
    )
    truth = (
        f"    table[LABEL] = (table[LABEL] == {table.positive}).astype(int)\n"
        if table.positive
        else ""
    )
    words = "[*TEXT, LABEL]" if table.positive and table.positive.startswith(("'", '"')) else "TEXT"
    facts = {
        "PROJECT": name,
        "SOURCE": source,
        "TEXT_COLUMNS": _listed(table.text),
        "NUMBER_COLUMNS": _listed(table.numbers),
        "LABEL_COLUMN": table.label,
        "METRIC": "roc_auc" if table.two_classes else "r2",
        "AT_LEAST": "0.65" if table.two_classes else "0.1",
        "ESTIMATOR": estimator,
        "    TRUTH\n": truth,
        "WORDS": words,
        'id = "ID_COLUMN"\n': f'id = "{table.id}"\n' if table.id else "",
    }
    text = file.read_text(encoding="utf-8")
    for placeholder, fact in facts.items():
        text = text.replace(placeholder, fact)
    file.write_text(text, encoding="utf-8")


def _copy(csv: Path, to: Path) -> None:
    """The same rows with commas, quotes and a header, whatever the file used."""
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT * FROM read_csv({_text(csv)}, all_varchar = true, header = true)) TO {_text(to)} (HEADER)"
        )


def _text(path: Path) -> str:
    """A path as SQL text."""
    return "'" + str(path).replace("'", "''") + "'"


def _listed(names: list[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
