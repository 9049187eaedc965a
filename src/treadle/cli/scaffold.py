"""``treadle init``: a project that runs as it is, on a made-up dataset or on one's own CSV file."""

import ast
import json
import random
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import duckdb

from treadle.kernel.errors import Conflict, Invalid, NotFound, did_you_mean

ROWS = 4000
FEWEST_ROWS = 20
NUMERIC = ("BIGINT", "HUGEINT", "DOUBLE")
KINDS = ["BIGINT", "DOUBLE", "DATE", "TIMESTAMP", "VARCHAR"]
"""Types that columns are read as; yes/no and true/false are text, so all readers see them alike."""


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
    """Make a project in a new folder. Returns the folder, and what was seen in the CSV file.

    Args:
        name: The project's name, and the folder's: lower-case letters, digits and hyphens.
        where: The folder in which the project's folder is made.
        csv: A CSV file to learn from; None makes up a dataset.
        label: The column of the CSV file that is to be predicted.
        id: The column of the CSV file that only names rows; None for no such column.

    Raises:
        Conflict: The folder exists already.
        NotFound: There is no such CSV file.
        Invalid: The name cannot be one, or the CSV file does not fit.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise Invalid(
            f"'{name}' cannot name a project: "
            "use lower-case letters, digits and hyphens, 63 at most."
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
    """Return which columns of a CSV file are text or numbers, and what kind the label is.

    Args:
        csv: A CSV file in UTF-8, with a header.
        label: The column that is to be predicted.
        id: The column that only names rows; None for no such column.

    Raises:
        NotFound: There is no such file.
        Invalid: The file cannot be read, a column is missing, or the label cannot be predicted.
    """
    if not csv.is_file():
        raise NotFound(f"There is no file '{csv}'.")
    with duckdb.connect() as db:
        try:
            relation = db.sql(
                f"SELECT * FROM read_csv({_text(csv)}, "
                f"auto_type_candidates = {KINDS}, header = true)"
            )
            rows = len(relation)
            everything = f"SELECT * FROM read_csv({_text(csv)}, all_varchar = true, header = false)"
            header = next(iter(db.sql(f"{everything} LIMIT 1").fetchall()), ())
        except duckdb.Error as error:
            reason = " ".join(line.strip() for line in str(error).splitlines()[:3])
            raise Invalid(f"'{csv}' cannot be read as CSV in UTF-8: {reason[:300]}") from error
        if rows < FEWEST_ROWS:
            count = "1 row" if rows == 1 else f"{rows or 'no'} rows"
            raise Invalid(
                f"'{csv}' has {count} below its header. To learn from some and to be judged on "
                f"others, a model needs at least {FEWEST_ROWS}."
            )
        _refuse_repeated(csv, [name for name in header if name])
        kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
        for column in (label, *([id] if id else [])):
            if column not in kinds:
                raise Invalid(f"'{csv}' has no column '{column}'.{did_you_mean(column, kinds)}")
        distinct = relation.project(_identifier(label)).distinct().limit(3).fetchall()
        values = [value for (value,) in distinct if value is not None]
    inputs = {column: kind for column, kind in kinds.items() if column not in (label, id)}
    numbers = [column for column, kind in inputs.items() if kind.startswith(NUMERIC)]
    text = [column for column, kind in inputs.items() if kind == "VARCHAR"]
    left_out = [column for column in inputs if column not in text + numbers]
    two_classes, numeric = len(values) == 2, kinds[label].startswith(NUMERIC)
    if not two_classes and not numeric:
        raise Invalid(
            f"Column '{label}' is neither a number nor one of two values, "
            "so this template cannot predict it."
        )
    is_zero_or_one = numeric and sorted(values) == [0, 1]
    positive = repr(max(values)) if two_classes and not is_zero_or_one else None
    return Table(text, numbers, left_out, label, positive, two_classes, id)


def _refuse_repeated(csv: Path, header: list[str]) -> None:
    """Refuse columns of one name, which libraries tell apart in ways of their own."""
    seen: dict[str, str] = {}
    for name in header:
        if (same := seen.get(name.lower())) is not None:
            but_for = "" if same == name else " but for upper and lower case"
            raise Invalid(f"'{csv}' has two columns named '{name}'{but_for}. Rename one of them.")
        seen[name.lower()] = name


def customers(rows: int, *, seed: int, start: int = 0) -> str:
    """Return made-up customers of a phone company as CSV.

    Who leaves depends on the contract, the months, the calls to support and the price.

    Args:
        rows: How many customers.
        seed: Equal seeds give equal customers.
        start: The number of the first customer.
    """
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
    """Put a table's facts where the template has capitals, as literals of the file's language.

    Whatever a name holds, it stays text. All places are filled at once, so that a name cannot be
    taken for a place either.
    """
    literal = _python if file.suffix == ".py" else _toml
    kind = "Classifier" if table.two_classes else "Regressor"
    truth = ""
    if table.positive:
        truth = f"    table[LABEL] = (table[LABEL] == {table.positive}).astype(int)\n"
    own = ["LABEL"] if table.positive and table.positive.startswith(("'", '"')) else []
    own += ["ID"] if table.id else []
    words = f"[*TEXT, {', '.join(own)}]" if own else "TEXT"
    positive = ast.literal_eval(table.positive) if table.positive else None
    facts = {
        '"data/SOURCE"': literal(f"data/{source}"),
        "PROJECT": name,
        "TEXT_COLUMNS": _listed(table.text),
        "NUMBER_COLUMNS": _listed(table.numbers),
        '"LABEL_COLUMN"': literal(table.label),
        "METRIC": "roc_auc" if table.two_classes else "r2",
        "AT_LEAST": "0.65" if table.two_classes else "0.1",
        "ESTIMATOR": f"HistGradientBoosting{kind}",
        "    TRUTH\n": truth,
        "WORDS": words,
        'id = "ID_COLUMN"\n': f"id = {literal(table.id)}\n" if table.id else "",
        '"ID_COLUMN"': literal(table.id) if table.id else "None",
        "POSITIVE": f"positive = {_toml(positive)}\n" if isinstance(positive, str) else "",
    }
    text = file.read_text(encoding="utf-8")
    places = re.compile("|".join(map(re.escape, facts)))
    file.write_text(places.sub(lambda place: facts[place[0]], text), encoding="utf-8")


def _copy(csv: Path, to: Path) -> None:
    """The same rows with commas, quotes and a header, whatever the file used."""
    with duckdb.connect() as db:
        rows = f"SELECT * FROM read_csv({_text(csv)}, all_varchar = true, header = true)"
        db.execute(f"COPY ({rows}) TO {_text(to)} (HEADER)")


def _text(path: Path) -> str:
    """A path as SQL text."""
    return "'" + str(path).replace("'", "''") + "'"


def _identifier(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def _python(text: str) -> str:
    """A text as a literal of Python."""
    plain = text.isprintable() and not set(text) & {'"', "\\"}
    return f'"{text}"' if plain else repr(text)


def _toml(text: str) -> str:
    """A text as a basic string of TOML, which has the escapes of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(names: list[str]) -> str:
    return "[" + ", ".join(map(_python, names)) + "]"
