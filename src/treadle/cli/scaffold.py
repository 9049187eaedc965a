"""``treadle init``: a project that runs as it is, to be changed into one's own."""

import random
import re
import shutil
from importlib.resources import as_file, files
from pathlib import Path

from treadle.kernel.errors import Conflict, Invalid

ROWS = 4000


def scaffold(name: str, where: Path) -> Path:
    """Make the folder ``where/name``. Raises Conflict when it is there already."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
        raise Invalid(f"'{name}' cannot name a project: use lower-case letters, digits and hyphens, 63 at most.")
    folder = where / name
    if folder.exists():
        raise Conflict(f"'{folder}' exists already. Choose another name.")
    with as_file(files("treadle.cli").joinpath("template")) as template:
        shutil.copytree(template, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "treadle.toml"
    file.write_text(file.read_text(encoding="utf-8").replace("PROJECT", name), encoding="utf-8")
    (folder / ".gitignore").write_text(".treadle/\n", encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "customers.csv").write_text(_customers(random.Random(7), ROWS, start=0), encoding="utf-8")
    (folder / "data" / "new-customers.csv").write_text(_customers(random.Random(8), 300, start=ROWS), encoding="utf-8")
    return folder


def _customers(chance: random.Random, rows: int, *, start: int) -> str:
    """Made-up customers of a phone company: who leaves depends on contract, months, calls to support and price."""
    lines = ["id,contract,months,support_calls,price,left"]
    for number in range(start, start + rows):
        contract = chance.choice(["monthly", "monthly", "yearly", "two years"])
        months, calls = chance.randint(1, 72), min(chance.getrandbits(3), chance.getrandbits(3))
        price = round(chance.uniform(15, 110), 2)
        risk = 0.08 + 0.25 * (contract == "monthly") + 0.06 * calls - 0.003 * months + 0.002 * (price - 60)
        lines.append(f"c{number:05},{contract},{months},{calls},{price},{int(chance.random() < risk)}")
    return "\n".join(lines) + "\n"
