"""Measures how long a profile takes, and the memory: ``python benchmarks/table_profile.py``.

A million rows of 20 columns: numbers, texts, times and booleans, written as Parquet first.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import duckdb

from treadle.data.table_profile import profile_table

COLUMNS = [
    *(f"random() * {10**place} AS n{place}" for place in range(6)),
    "CASE WHEN random() < 0.1 THEN NULL ELSE exp(random() * 10) END AS skewed",
    "random() + i / 1e6 AS trend",
    "i AS id",
    "CAST(random() * 100 AS INTEGER) AS age",
    "CAST(random() * 5 AS SMALLINT) AS kind",
    "CAST(random() * 1e9 AS BIGINT) AS amount",
    "'c' || CAST(random() * 5 AS INTEGER) AS town",
    "CASE WHEN random() < 0.05 THEN NULL ELSE 'v' || CAST(random() * 2000 AS INTEGER) END AS item",
    "md5(CAST(i AS VARCHAR)) AS hash",
    "'a text about a person ' || CAST(random() * 50000 AS INTEGER) AS note",
    "TIMESTAMP '2024-01-01' + to_seconds(CAST(random() * 3e7 AS INTEGER)) AS seen",
    "DATE '2020-01-01' + CAST(random() * 1500 AS INTEGER) AS born",
    "TIMESTAMP '2024-01-01' + to_seconds(CAST(i AS INTEGER)) AS since",
    "random() < 0.3 AS yes",
]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.parquet")
        with duckdb.connect() as connection:
            rows = f"SELECT {', '.join(COLUMNS)} FROM range({asked.rows}) AS r(i)"
            connection.execute(f"COPY ({rows}) TO '{file}'")
        for _ in range(asked.rounds):
            before = _memory()
            start, busy = time.perf_counter(), time.process_time()
            profile = profile_table(file)
            seconds = time.perf_counter() - start
            print(
                f"{profile.rows:,} rows x {len(profile.columns)} columns: {seconds:.2f} s, "
                f"{time.process_time() - busy:.2f} s of processors; "
                f"peak memory {before:.0f} MB before, {_memory():.0f} MB after"
            )


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
