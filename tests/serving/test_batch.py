"""Files are scored whole, once, in order, also when the process is killed on the way."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from tests import models
from tests.serving.scripted import Scripted, script
from treadle.backends.runtime.onnx import OnnxRuntime
from treadle.kernel.clock import SystemClock
from treadle.kernel.errors import Conflict, Invalid, NotFound
from treadle.ports.runtime import open_model
from treadle.ports.target import Variant
from treadle.serving.batch import score_file
from treadle.serving.batch_log import BatchLog
from treadle.serving.log_files import InferenceLogs
from treadle.serving.served import Served

ROOT = Path(__file__).parents[2]


def table(rows: int, **more: Any) -> pd.DataFrame:
    made = models.rows(rows, seed=1)[models.INPUTS].copy()
    made["id"] = np.arange(rows)
    return made.assign(**more)


def parquet(file: Path, frame: pd.DataFrame) -> Path:
    duckdb.from_df(frame).write_parquet(str(file), row_group_size=2048)
    return file


def read(file: Path) -> pd.DataFrame:
    return duckdb.read_parquet(str(file)).df()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save(tmp_path_factory.mktemp("m") / "trees", models.trees())


def served(package: Path, runtime: Any = None) -> Served:
    signature, model = open_model(package, runtime or OnnxRuntime())
    return Served(Variant(version="trees:1", package="p"), 1, signature, model)


@pytest.mark.parametrize("rows", [0, 1, 999, 1000, 1001, 12_345])
def test_every_row_is_scored_once_and_in_order(package: Path, tmp_path: Path, rows: int) -> None:
    frame = table(rows)
    told: list[tuple[int, int]] = []
    source = parquet(tmp_path / "in.parquet", frame)
    found = score_file(
        served(package),
        source,
        tmp_path / "out.parquet",
        rows_at_once=1000,
        progress=lambda _, n, of: told.append((n, of)),
    )
    result = read(tmp_path / "out.parquet")
    assert (found.rows, found.failed, found.resumed) == (rows, 0, 0)
    assert result["id"].tolist() == list(range(rows))
    assert list(result.columns) == [*frame.columns, "prediction", "prediction_error"]
    if rows:
        wanted = models.trees().predict_proba(frame[models.INPUTS])[:, 1]
        np.testing.assert_allclose(result["prediction"], wanted, atol=1e-5)
        assert told[-1] == (rows, rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]


def test_rows_on_which_the_model_fails_say_why_and_disturb_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "packages" / script(tmp_path, "m:1", breaks_on=["green"])
    source = parquet(tmp_path / "in.parquet", table(500))
    found = score_file(served(folder, Scripted()), source, tmp_path / "out.parquet")
    result = read(tmp_path / "out.parquet")
    green = result["colour"] == "green"
    assert found.failed == green.sum() > 0
    assert result[green]["prediction"].isna().all()
    assert result[green]["prediction_error"].str.contains("unknown colour green").all()
    np.testing.assert_allclose(result[~green]["prediction"], result[~green]["size"], rtol=1e-6)
    assert result[~green]["prediction_error"].isna().all()


def test_rows_that_are_kept_are_those_of_the_file_with_what_went_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "packages" / script(tmp_path, "m:1", breaks_on=["green"])
    frame = table(25_000, id=[f"00{row}" for row in range(25_000)])
    source = parquet(tmp_path / "in.parquet", frame)
    logs = InferenceLogs(tmp_path / "endpoints")
    log = BatchLog(logs.folder("e"), SystemClock(), "id", 3)
    model = served(folder, Scripted())
    begun = SystemClock().now()
    found = score_file(model, source, tmp_path / "out.parquet", rows_at_once=7000, log=log)
    assert found.kept == 25_000
    kept = list(logs.read("e", begun, SystemClock().now()))
    assert [row.id for row in kept] == frame["id"].tolist()
    assert {(row.version, row.role, row.generation) for row in kept} == {("trees:1", "batch", 3)}
    for row, given in zip(kept, frame.to_dict("records"), strict=True):
        assert row.inputs == pytest.approx({name: given[name] for name in models.INPUTS})
        if given["colour"] == "green":
            assert row.output is None
            assert "unknown colour green" in str(row.error)
        else:
            assert row.output == pytest.approx(given["size"], rel=1e-6)
            assert row.error is None


def test_categories_written_as_numbers_are_kept_as_the_model_saw_them(tmp_path: Path) -> None:
    folder = tmp_path / "packages" / script(tmp_path, "m:1")
    source = parquet(tmp_path / "in.parquet", table(3).assign(colour=[5.0, 6.5, np.nan]))
    log = BatchLog(tmp_path / "e" / "log", SystemClock(), "id", 1)
    begun = SystemClock().now()
    score_file(served(folder, Scripted()), source, tmp_path / "out.parquet", log=log)
    kept = InferenceLogs(tmp_path).read("e", begun, SystemClock().now())
    assert [row.inputs["colour"] for row in kept] == ["5", "6.5", None]


@pytest.mark.parametrize("fails", ["os.fsync", "blake3"])
def test_a_scoring_that_was_stopped_keeps_each_row_once(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    source = parquet(tmp_path / "in.parquet", table(3000))
    logs = InferenceLogs(tmp_path / "endpoints")
    log = BatchLog(logs.folder("e"), SystemClock(), "id", 1)
    begun = SystemClock().now()

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(f"treadle.serving.batch_log.{fails}", stop)
        score_file(served(package), source, tmp_path / "out.csv", log=log)
    assert not list(logs.read("e", begun, SystemClock().now()))
    assert score_file(served(package), source, tmp_path / "out.csv", log=log).kept == 3000
    assert score_file(served(package), source, tmp_path / "out.csv", log=log).kept == 0
    assert len(list(logs.read("e", begun, SystemClock().now()))) == 3000


def test_several_classes_have_a_column_each(tmp_path: Path) -> None:
    folder = models.save(
        tmp_path / "three", models.three_classes(), models.rows()[["size", "weight"]]
    )
    source = parquet(tmp_path / "in.parquet", table(50))
    score_file(served(folder), source, tmp_path / "out.parquet")
    result = read(tmp_path / "out.parquet")
    given = result[["prediction_blue", "prediction_green", "prediction_red"]]
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)


def test_a_run_that_is_killed_goes_on_where_it_was(package: Path, tmp_path: Path) -> None:
    source, to = parquet(tmp_path / "in.parquet", table(40_000)), tmp_path / "out.parquet"
    command = [
        sys.executable,
        "-m",
        "treadle",
        "predict",
        str(package),
        str(source),
        str(to),
        "--rows-at-once",
        "500",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    chance, parts, kills = random.Random(0), tmp_path / ".out.parquet.parts", 0
    for _ in range(3):
        process = subprocess.Popen(
            [*command, "--home", str(tmp_path / "home")], env=environment, stdout=subprocess.DEVNULL
        )
        before = len(list(parts.glob("*.parquet"))) if parts.exists() else 0
        while process.poll() is None and (
            not parts.exists() or len(list(parts.glob("*.parquet"))) < before + 3
        ):
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    done = subprocess.run(
        [*command, "--json", "--home", str(tmp_path / "home")],
        env=environment,
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["rows"] == 40_000
    assert told["resumed"] >= 1000
    assert read(to)["id"].tolist() == list(range(40_000))
    assert not parts.exists()


def test_parts_of_another_file_or_model_are_not_used(package: Path, tmp_path: Path) -> None:
    source, to = parquet(tmp_path / "in.parquet", table(3000)), tmp_path / "out.parquet"
    stopped = RuntimeError("stopped")

    def stop(_: str, done: int, of: int) -> None:
        if done >= 2000:
            raise stopped

    with pytest.raises(RuntimeError):
        score_file(served(package), source, to, rows_at_once=1000, progress=stop)
    parquet(source, table(3000, weight=9.0))
    found = score_file(served(package), source, to, rows_at_once=1000)
    assert found.resumed == 0
    assert set(read(to)["weight"]) == {9.0}


def test_two_at_once_are_refused(package: Path, tmp_path: Path) -> None:
    source, to = parquet(tmp_path / "in.parquet", table(3000)), tmp_path / "out.parquet"

    def second(_: str, done: int, of: int) -> None:
        with pytest.raises(Conflict, match="in use by another process"):
            score_file(served(package), source, to)

    score_file(served(package), source, to, rows_at_once=3000, progress=second)


def test_what_cannot_be_scored_is_told(package: Path, tmp_path: Path) -> None:
    to = tmp_path / "out.parquet"
    with pytest.raises(NotFound, match="no file"):
        score_file(served(package), tmp_path / "nowhere.parquet", to)
    (tmp_path / "text").write_text("no table")
    with pytest.raises(Invalid, match="cannot be read as Parquet"):
        score_file(served(package), tmp_path / "text", to)
    with pytest.raises(Invalid, match="has no column 'colour'"):
        score_file(
            served(package), parquet(tmp_path / "a.parquet", table(5).drop(columns="colour")), to
        )
    with pytest.raises(Invalid, match="column 'prediction' already"):
        score_file(served(package), parquet(tmp_path / "b.parquet", table(5, prediction=1.0)), to)
    with pytest.raises(Invalid, match=r"takes numbers in column .size'"):
        score_file(served(package), parquet(tmp_path / "c.parquet", table(5, size="big")), to)
    assert not to.exists()


def test_csv_is_scored_like_parquet_and_stays_as_it_was_written(
    package: Path, tmp_path: Path
) -> None:
    frame = table(3_000)
    frame["id"] = [f"00{number}" for number in range(3_000)]
    frame.iloc[5, 0] = None
    frame["weight"] = np.arange(3_000)
    frame.to_csv(tmp_path / "in.csv", index=False)
    of_parquet = parquet(tmp_path / "in.parquet", frame)
    score_file(served(package), of_parquet, tmp_path / "out.parquet", rows_at_once=1_000)
    found = score_file(served(package), tmp_path / "in.csv", tmp_path / "out.csv", rows_at_once=999)
    assert found.rows == 3_000
    told = pd.read_csv(tmp_path / "out.csv", dtype={"id": str})
    assert told["id"].tolist() == frame["id"].tolist()
    expected = read(tmp_path / "out.parquet")["prediction"]
    np.testing.assert_allclose(told["prediction"], expected, atol=1e-6)
    shown = pd.read_csv(tmp_path / "out.csv", dtype=str)
    assert shown["weight"].tolist() == [str(number) for number in range(3_000)]
    again = score_file(served(package), tmp_path / "in.csv", tmp_path / "other.parquet")
    assert (again.rows, len(read(tmp_path / "other.parquet"))) == (3_000, 3_000)


def test_a_csv_with_words_for_numbers_is_told(package: Path, tmp_path: Path) -> None:
    frame = table(10).astype({"size": str})
    frame.loc[3, "size"] = "large"
    frame.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(
        Invalid, match="takes numbers in column 'size', and there is text in it, such as 'large'"
    ):
        score_file(served(package), tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_a_file_is_not_replaced_by_its_own_result(package: Path, tmp_path: Path, name: str) -> None:
    table(10).to_csv(tmp_path / "in.csv", index=False)
    parquet(tmp_path / "in.parquet", table(10))
    before = (tmp_path / name).read_bytes()
    with pytest.raises(Invalid, match="would replace"):
        score_file(served(package), tmp_path / name, tmp_path / "." / name)
    assert (tmp_path / name).read_bytes() == before
