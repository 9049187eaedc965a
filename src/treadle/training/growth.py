"""Makes the table that a training learns from: the source's rows, then answered requests."""

import tempfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sqlalchemy import select

from treadle.data.engine import query_engine
from treadle.data.model import DatasetVersion
from treadle.data.service import Data
from treadle.data.table_files import as_written
from treadle.data.task import MOST_CLASSES
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.kernel.escaping import one_file, sql_name, sql_text
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, load
from treadle.ports.tree import fetch_tree, put_files
from treadle.scope.model import DataSource, Keep
from treadle.scope.shares import percentage
from treadle.training.answered_rows import DRAWS, INPUT, WORD, AnsweredRows, Portion
from treadle.training.model import DatasetGrown, NewRows
from treadle.training.tables import grown_datasets

_FORMATS = {".csv": "FORMAT csv, HEADER", ".parquet": "FORMAT parquet, COMPRESSION zstd"}


class Grown(Entity):
    """What a dataset version was made of.

    Attributes:
        digest: Digest of the version.
        source: Digest of the source's version.
        answers: Number of answered requests in it.
        collected: Number of labelled answers that there were.
        label_event: Number of the newest event whose labels were looked at.
    """

    digest: str
    source: str
    answers: int
    collected: int
    label_event: int

    @classmethod
    def source_alone(cls, digest: str, label_event: int = 0) -> "Grown":
        """What a source's own version was made of.

        Args:
            digest: Digest of the version.
            label_event: Number of the newest event whose labels were looked at.
        """
        return cls(digest=digest, source=digest, answers=0, collected=0, label_event=label_event)


class _Column(NamedTuple):
    name: str
    kind: str


class Growth:
    """Adds answered requests whose labels have come to the dataset that a model learns from.

    Args:
        database: Where is recorded what versions were made of.
        events: The event log.
        clock: The source of time.
        blobs: Where datasets are stored.
        data: The dataset versions.
        rows: The labelled answers.
        cache: Where datasets are unpacked.
    """

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        blobs: Blobs,
        data: Data,
        rows: AnsweredRows,
        cache: Path,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._blobs, self._data, self._rows, self._cache = blobs, data, rows, cache

    def made_of(self, project: str, digest: str) -> Grown:
        """What a version of the learning dataset was made of.

        Args:
            project: Name of the project.
            digest: Digest of the version.
        """
        key = (grown_datasets.c.project == project) & (grown_datasets.c.digest == digest)
        with self._database.read() as connection:
            row = connection.execute(select(grown_datasets).where(key)).mappings().one_or_none()
        if row is None:
            return Grown.source_alone(digest)
        return load(Grown, row)

    def new_rows(self, project: str, learnt: dict[str, str], wanted: int) -> NewRows:
        """What has come since a training.

        Args:
            project: Name of the project.
            learnt: The datasets that it learnt from: digests by name.
            wanted: Number of labelled answers that an automatic training waits for.
        """
        seen = max((self.made_of(project, one).label_event for one in learnt.values()), default=0)
        portions = self._rows.portions(project)
        unmatched = portions[-1].unmatched if portions else []
        return NewRows(
            labels=self._rows.labels_after(project, seen),
            wanted=wanted,
            unmatched=len(unmatched),
            examples=unmatched[:5],
        )

    def grow(self, declared: DataSource, version: DatasetVersion) -> Grown:
        """Make a version of the source's rows and the labelled answers, as it was declared.

        Args:
            declared: The dataset's declaration.
            version: The source's present version.

        Returns:
            What was made; the source's own version where nothing is added or taken away.

        Raises:
            Invalid: Answers cannot become rows of this source.
        """
        portions = self._rows.collect(version.project) if declared.learns_from_answers else []
        collected = sum(portion.rows for portion in portions)
        label_event = portions[-1].label_event if portions else 0
        if not collected and declared.kept.everything:
            return Grown.source_alone(version.digest, label_event)
        folder = fetch_tree(self._blobs, version.digest, self._cache / version.digest)
        files = [path for path in folder.rglob("*") if path.is_file()]
        suffix = files[0].suffix.lower() if len(files) == 1 else ""
        if suffix not in _FORMATS:
            raise Invalid(
                f"Dataset '{version.name}' learns from answers or keeps some rows only, so its "
                f"source must be one .csv or .parquet file; '{declared.source}' is not."
            )
        with tempfile.TemporaryDirectory() as made:
            into = Path(made, files[0].name)
            answers = self._assemble(declared, files[0], portions, into)
            name = PurePosixPath(files[0].relative_to(folder)).as_posix()
            digest = put_files(self._blobs, {name: into})
        grown = Grown(
            digest=digest,
            source=version.digest,
            answers=answers,
            collected=collected,
            label_event=label_event,
        )
        self._record(version, grown, portions)
        return grown

    def _record(self, version: DatasetVersion, grown: Grown, portions: list[Portion]) -> None:
        """Record what a version was made of, and of one that is known which labels it has seen."""
        self._data.add(project=version.project, name=version.name, digest=grown.digest)
        key = (grown_datasets.c.project == version.project) & (
            grown_datasets.c.digest == grown.digest
        )
        seen = {"collected": grown.collected, "label_event": grown.label_event}
        used = [portion for portion in portions if portion.digest]
        event = DatasetGrown(
            project=version.project,
            name=version.name,
            digest=grown.digest,
            source=grown.source,
            answers=grown.answers,
            portions=[portion.digest for portion in used],
            first=min((portion.first for portion in used if portion.first), default=None),
            last=max((portion.last for portion in used if portion.last), default=None),
        )
        row = {name: getattr(grown, name) for name in grown.__struct_fields__}
        with self._database.write() as transaction:
            if transaction.execute(grown_datasets.update().where(key).values(seen)).rowcount:
                return
            transaction.execute(grown_datasets.insert().values(project=version.project, **row))
            if grown.digest != grown.source:
                self._events.append(transaction, event)

    def _assemble(
        self, declared: DataSource, source: Path, portions: list[Portion], into: Path
    ) -> int:
        """Write both kinds of rows into a file like the source's; the number of answers in it."""
        paths = [self._portion(portion) for portion in portions if portion.digest]
        with query_engine() as connection:
            reader = as_written(source)
            described = connection.execute(f"DESCRIBE SELECT * FROM {reader}").fetchall()
            columns = [_Column(row[0], row[1]) for row in described]
            names = {column.name for column in columns}
            label = declared.label or ""
            for needed in (label, declared.id, declared.time):
                if needed and needed not in names:
                    raise Invalid(
                        f"'{declared.source}' has no column '{needed}'."
                        f"{did_you_mean(needed, names)}"
                    )
            connection.execute("CREATE OR REPLACE TEMP TABLE answers (request VARCHAR)")
            if paths:
                listed = ", ".join(sql_text(one_file(path)) for path in paths)
                connection.execute(
                    "CREATE OR REPLACE TEMP TABLE answers AS SELECT * EXCLUDE (nth, filename) FROM "
                    "(SELECT *, row_number() OVER (PARTITION BY request ORDER BY "
                    f"list_position([{listed}], filename) DESC) AS nth FROM "
                    f"read_parquet([{listed}], union_by_name = true, filename = true)) "
                    "WHERE nth = 1 AND draw < ?",
                    [round(percentage(declared.share, "share") * DRAWS)],
                )
            self._refuse_strangers(connection, declared, names)
            own = {row[0] for row in connection.execute("DESCRIBE answers").fetchall()}
            truth = _truth(connection, declared, reader, own) if declared.label else "NULL"
            picked = ", ".join(
                f"{_value(column, declared, own, truth)} AS {sql_name(column.name)}"
                for column in columns
            )
            known = ""
            if declared.id:
                known = (
                    f" WHERE request NOT IN (SELECT CAST({sql_name(declared.id)} AS VARCHAR) "
                    f"FROM {reader} WHERE {sql_name(declared.id)} IS NOT NULL)"
                )
            moment = (
                f"TRY_CAST({sql_name(declared.time)} AS TIMESTAMP)" if declared.time else "NULL"
            )
            rows = (
                f"SELECT *, 0 AS part_, row_number() OVER () AS place_, {moment} AS moment_ "
                f"FROM {reader}"
            )
            if paths:
                rows += (
                    f" UNION ALL SELECT {picked}, 1, row_number() OVER (ORDER BY asked_at, request)"
                    f", make_timestamp(asked_at) FROM answers{known}"
                )
            connection.execute(f"CREATE OR REPLACE TEMP TABLE grown AS {rows}")
            self._keep(connection, declared.kept)
            shown = ", ".join(sql_name(column.name) for column in columns)
            order = "moment_ NULLS FIRST, part_, place_" if declared.time else "part_, place_"
            connection.execute("SET preserve_insertion_order = true")
            connection.execute(
                f"COPY (SELECT {shown} FROM grown ORDER BY {order}) "
                f"TO {sql_text(into)} ({_FORMATS[source.suffix.lower()]})"
            )
            (answers,) = connection.execute(
                "SELECT count(*) FROM grown WHERE part_ = 1"
            ).fetchone() or (0,)
            return int(answers)

    def _portion(self, portion: Portion) -> Path:
        path = self._cache / "portions" / f"{portion.digest}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._blobs.fetch(portion.digest, path)
        return path

    def _refuse_strangers(self, connection: object, declared: DataSource, names: set[str]) -> None:
        """Refuse answers whose inputs are no columns of the source: nothing would be learnt."""
        described = connection.execute("DESCRIBE answers").fetchall()  # type: ignore[attr-defined]
        inputs = [row[0].removeprefix(INPUT) for row in described if row[0].startswith(INPUT)]
        if inputs and not names & set(inputs):
            raise Invalid(
                f"No input of the model ({', '.join(inputs[:5])}) is a column of "
                f"'{declared.source}', so answered requests are no rows of it. Declare "
                "learn_from = 'source', or let the source have the model's inputs as columns."
            )

    def _keep(self, connection: object, kept: Keep) -> None:
        """Take away what the declaration does not keep."""
        execute = connection.execute  # type: ignore[attr-defined]
        if kept.rows:
            execute(
                "DELETE FROM grown WHERE rowid NOT IN (SELECT rowid FROM grown "
                f"ORDER BY part_ DESC, place_ DESC LIMIT {kept.rows})"
            )
        if kept.span:
            since = (self._clock.now() - kept.span).replace(tzinfo=None)
            execute("DELETE FROM grown WHERE moment_ < ?", [since])


def _truth(connection: object, declared: DataSource, reader: str, own: set[str]) -> str:
    """The label of an answer in the source's own words, as SQL; NULL for words it has not."""
    label = sql_name(declared.label or "")
    execute = connection.execute  # type: ignore[attr-defined]
    (words,) = execute(
        f"SELECT count(*) FROM {reader} WHERE {label} IS NOT NULL "
        f"AND TRY_CAST({label} AS DOUBLE) IS NULL"
    ).fetchone()
    if not words:
        return _number(_WORD_AS_NUMBER if WORD in own else "label")
    found = execute(
        f"SELECT DISTINCT CAST({label} AS VARCHAR) FROM {reader} WHERE {label} IS NOT NULL "
        f"LIMIT {MOST_CLASSES + 1}"
    ).fetchall()
    values = sorted(value for (value,) in found)
    numbers = f"FROM answers{f' WHERE {WORD} IS NULL' if WORD in own else ''}"
    (numbered,) = execute(f"SELECT count(*) {numbers}").fetchone()
    from_number = _from_number(declared, values) if numbered else "NULL"
    if WORD not in own:
        return from_number
    listed = ", ".join(map(sql_text, dict.fromkeys([*values, *declared.new_classes])))
    spellings = " ".join(
        f"WHEN {sql_text(value.lower())} THEN {sql_text(value)}"
        for value in values
        if value.lower() in ("true", "false")
    )
    from_word = f"CASE WHEN {WORD} IN ({listed}) THEN {WORD} "
    from_word += f"ELSE CASE lower({WORD}) {spellings} END END" if spellings else "END"
    return f"CASE WHEN {WORD} IS NULL THEN {from_number} ELSE {from_word} END"


_WORD_AS_NUMBER = (
    f"(CASE WHEN {WORD} IS NULL THEN label WHEN {WORD} = 'true' THEN 1 "
    f"WHEN {WORD} = 'false' THEN 0 ELSE TRY_CAST({WORD} AS DOUBLE) END)"
)


def _from_number(declared: DataSource, values: list[str]) -> str:
    """The word that a label of 1 or 0 means, as SQL."""
    if len(values) != 2:
        raise Invalid(
            f"Column '{declared.label}' of '{declared.source}' holds {len(values)} different words "
            "and labels are numbers, so answers cannot become rows. Declare learn_from = 'source'."
        )
    if declared.positive not in values:
        raise Invalid(
            f"Column '{declared.label}' holds '{values[0]}' and '{values[1]}'. Say which of them "
            f'the label 1 means: positive = "{values[1]}"'
        )
    other = values[0] if declared.positive == values[1] else values[1]
    one = sql_text(declared.positive or "")
    return f"CASE label WHEN 1 THEN {one} WHEN 0 THEN {sql_text(other)} END"


def _value(column: _Column, declared: DataSource, own: set[str], truth: str) -> str:
    """A column of the source for an answer, as SQL."""
    if column.name == declared.label:
        value = truth
    elif column.name == declared.id:
        value = "request"
    elif column.name == declared.time:
        value = "strftime(make_timestamp(asked_at), '%Y-%m-%d %H:%M:%S')"
    elif INPUT + column.name in own:
        value = _number(sql_name(INPUT + column.name))
    else:
        return f"CAST(NULL AS {column.kind})"
    return f"TRY_CAST({value} AS {column.kind})"


def _number(name: str) -> str:
    """A value as text: of a number the shortest that reads back as the same one."""
    number = f"TRY_CAST({name} AS DOUBLE)"
    return (
        f"CASE WHEN typeof({name}) = 'VARCHAR' THEN CAST({name} AS VARCHAR) "
        f"WHEN isnan({number}) THEN NULL "
        f"WHEN {number} = floor({number}) AND abs({number}) < 9e15 "
        f"THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) "
        f"WHEN {number} = TRY_CAST({number} AS FLOAT) "
        f"THEN CAST(TRY_CAST({number} AS FLOAT) AS VARCHAR) "
        f"ELSE CAST({number} AS VARCHAR) END"
    )
