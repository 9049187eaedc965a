"""``treadle init``: a project that runs as it is, on a made-up dataset or on one's own CSV file."""

import ast
import random
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from treadle.cli.first_look import Table, copy_rows, look_at
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.escaping import python, toml
from treadle.scope.model import METRIC_OF, Task

ROWS = 4000


def scaffold(
    name: str,
    where: Path,
    csv: Path | None = None,
    label: str | None = None,
    id: str | None = None,
    task: Task | None = None,
) -> tuple[Path, Table]:
    """Make a project in a new folder. Returns the folder, and what was seen in the CSV file.

    Args:
        name: The project's name, and the folder's: lower-case letters, digits and hyphens.
        where: The folder in which the project's folder is made.
        csv: A CSV file to learn from; None makes up a dataset.
        label: The column of the CSV file that is to be predicted; needed but for anomalies.
        id: The column of the CSV file that only names rows; None for no such column.
        task: What is predicted; None to tell it from the label's values.

    Raises:
        Conflict: The folder exists already.
        NotFound: There is no such CSV file.
        InDoubt: The label's values leave the task open.
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
        if label is None and task != "anomaly":
            raise Invalid(
                "Which column is to be predicted? Name it with --label, or say --task anomaly "
                "to look for strange rows without one."
            )
        (table, dialect), source = look_at(csv, label, id, task), csv.name
    else:
        table, source = (
            Table(
                ["contract"], ["months", "support_calls", "price"], [], "left", None, "binary", "id"
            ),
            "customers.csv",
        )
    with as_file(files("treadle.cli").joinpath("template")) as template:
        _copy_template(template, folder, table)
    _fill(folder / "treadle.toml", name, source, table)
    _fill(folder / "pipeline.py", name, source, table)
    (folder / ".gitignore").write_text(".treadle/\n", encoding="utf-8")
    (folder / "data").mkdir()
    if csv is not None:
        copy_rows(csv, dialect, folder / "data" / source)
    else:
        (folder / "data" / source).write_text(customers(ROWS, seed=7), encoding="utf-8")
        (folder / "data" / "new-customers.csv").write_text(
            customers(300, seed=8, start=ROWS), encoding="utf-8"
        )
    return folder, table


def _copy_template(template: Path, folder: Path, table: Table) -> None:
    """Copy treadle.toml, and the pipeline of the table's task as pipeline.py."""
    folder.mkdir()
    shutil.copy(template / "treadle.toml", folder)
    pipeline = "anomaly.py" if table.task == "anomaly" else "pipeline.py"
    shutil.copy(template / pipeline, folder / "pipeline.py")


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
    literal = python if file.suffix == ".py" else toml
    kind = "Regressor" if table.task == "regression" else "Classifier"
    truth = ""
    if table.positive and table.task == "anomaly":
        truth = f"    is_anomaly = (table[LABEL] == {table.positive}).astype(float)\n"
        truth += "    table[LABEL] = is_anomaly.where(table[LABEL].notna())\n"
    elif table.positive:
        truth = f"    table[LABEL] = (table[LABEL] == {table.positive}).astype(int)\n"
    elif table.task == "multi-class" and not table.words:
        truth = "    table[LABEL] = table[LABEL].astype(int)\n"
    own = ["LABEL"] if table.words else []
    own += ["ID"] if table.id else []
    words = f"[*TEXT, {', '.join(own)}]" if own else "TEXT"
    positive = ast.literal_eval(table.positive) if table.positive else None
    facts = {
        '"data/SOURCE"': literal(f"data/{source}"),
        "PROJECT": name,
        "TEXT_COLUMNS": _listed(table.text),
        "NUMBER_COLUMNS": _listed(table.numbers),
        'label = "LABEL_COLUMN"\n': _toml_label(table),
        '"LABEL_COLUMN"': literal(table.label or ""),
        'LABEL = "LABEL_COLUMN"\n': f"LABEL = {literal(table.label)}\n" if table.label else "",
        "LABELS_ARE_LEARNT\n": _toml_learn_from(table),
        "QUALITY_REQUIREMENT\n": _quality(table),
        "TUNE_SPACE\n": _tune_space(table),
        "TASK": table.task,
        "ESTIMATOR": f"HistGradientBoosting{kind}",
        "    TRUTH\n": truth,
        "WORDS": words,
        'id = "ID_COLUMN"\n': f"id = {literal(table.id)}\n" if table.id else "",
        '"ID_COLUMN"': literal(table.id) if table.id else "None",
        "POSITIVE": f"positive = {toml(positive)}\n" if isinstance(positive, str) else "",
    }
    text = file.read_text(encoding="utf-8")
    places = re.compile("|".join(map(re.escape, facts)))
    file.write_text(places.sub(lambda place: facts[place[0]], text), encoding="utf-8")


def _toml_label(table: Table) -> str:
    return f"label = {toml(table.label)}\n" if table.label else ""


def _toml_learn_from(table: Table) -> str:
    if table.label is None:
        return ""
    return 'learn_from = "source and answers"   # answered requests become rows once labelled\n'


def _tune_space(table: Table) -> str:
    """What ``treadle tune`` searches over; a search needs labels to judge by."""
    if table.task == "anomaly":
        return ""
    return (
        "[tune.space]                    # parameters of steps that 'treadle tune' searches over\n"
        "leaves = { low = 4, high = 32, log = true }\n"
        "rate = { low = 0.02, high = 0.5, log = true }\n\n"
    )


def _quality(table: Table) -> str:
    """A first requirement, where labels can show it."""
    if table.label is None:
        return ""
    return (
        "[[requirement]]                 # gates every candidate, and watches production\n"
        'id = "R1"\n'
        'says = "Predicts well enough to act on"\n'
        f'metric = "{METRIC_OF[table.task]}"\n'
        f"at_least = {_at_least(table)}\n\n"
    )


def _at_least(table: Table) -> str:
    """A first bound: three tenths of the way from a guess to a model that is always right."""
    if table.task == "regression":
        return "0.1"
    return f"{1 / table.classes + 0.3 * (1 - 1 / table.classes):.2g}"


def _listed(names: list[str]) -> str:
    return "[" + ", ".join(map(python, names)) + "]"
