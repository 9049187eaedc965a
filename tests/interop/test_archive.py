"""An exported history is whole, readable, and the same to the byte after another round."""

import json
import math
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from treadle.interop.archive import (
    MANIFEST,
    _read_blobs,
    _verify,
    export_archive,
    import_archive,
    read_manifest,
)
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound, TreadleError
from treadle.platform.start import embedded
from treadle.platform.wiring import Embedded
from treadle.tracking.model import Batch, Dataset, Metric
from treadle.tracking.segments import Points, pack_arrays

START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
KEY = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12
)
STEP = st.integers(-(2**63), 2**63 - 1) | st.floats(-(2.0**62), 2.0**62)
POINTS = st.lists(st.tuples(KEY, STEP, st.floats()), max_size=8)
RUNS = st.lists(
    st.fixed_dictionaries(
        {
            "params": st.dictionaries(KEY, TEXT, max_size=4),
            "tags": st.dictionaries(KEY, TEXT, max_size=4),
        }
        | {
            "points": POINTS,
            "file": st.binary(max_size=40),
            "end": st.sampled_from(["failed", "finished", "", "deleted"]),
        }
    ),
    max_size=4,
)


def filled(platform: Embedded, wanted: list[dict[str, Any]]) -> None:
    tracking = platform.tracking
    for number, one in enumerate(wanted):
        run = tracking.start_run(
            experiment=f"e{number % 2}", params=one["params"], tags=one["tags"]
        ).id
        metrics = [
            Metric(key=key, step=step, value=value, at=START) for key, step, value in one["points"]
        ]
        for at in range(0, len(metrics), 3):
            tracking.log(run=run, metrics=metrics[at : at + 3])
        digest = platform.blobs.put(one["file"])
        tracking.add_artifact(run=run, path="a/file", digest=digest, bytes=len(one["file"]))
        tracking.use_data(run=run, datasets=[Dataset(name="d", digest=digest[:8], tags={"a": "b"})])
        if one["end"] == "deleted":
            tracking.delete_run(run=run)
        elif one["end"]:
            tracking.finish_run(run=run, status=one["end"])
    if wanted:
        platform.registry.create_model(name="m", description="ü\n", tags={"a": "1"})
        platform.registry.register_source(model="m", source="s3://x")
    if len(wanted) > 2:
        tracking.reconcile()


def written(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def rows_of(query: str) -> list[Any]:
    with duckdb.connect() as connection:
        return connection.execute(query).fetchall()


def there_and_back(source: Embedded, target: Embedded, folder: Path) -> dict[str, bytes]:
    export_archive(source.database, source.blobs, folder / "one")
    import_archive(folder / "one", target.database, target.blobs)
    export_archive(target.database, target.blobs, folder / "two")
    one, two = written(folder / "one"), written(folder / "two")
    assert [name for name in sorted({*one, *two}) if one.get(name) != two.get(name)] == []
    assert target.events.verify() == source.events.verify()
    return two


@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(RUNS)
def test_export_import_export_is_equal_to_the_byte(wanted: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with embedded(folder / "a") as source, embedded(folder / "b") as target:
            filled(source, wanted)
            there_and_back(source, target, folder)
            for run in source.tracking.find(limit=100):
                assert target.tracking.get(run=run.id).params == run.params
                for one in source.tracking.series(run=run.id):
                    before, after = (
                        p.tracking.points(run=run.id, key=one.key) for p in (source, target)
                    )
                    assert [math.isnan(v) or v for _, _, v in before.rows()] == [
                        math.isnan(v) or v for _, _, v in after.rows()
                    ]
                    assert [step for step, _, _ in before.rows()] == [
                        step for step, _, _ in after.rows()
                    ]


def test_a_home_moves_from_one_database_to_another(tmp_path: Path, postgres_url: str) -> None:
    with (
        embedded(tmp_path / "a") as source,
        embedded(tmp_path / "b", database=postgres_url) as target,
    ):
        filled(
            source,
            [
                {
                    "params": {"a": "1"},
                    "tags": {},
                    "points": [("x", 1, 2.0)],
                    "file": b"x",
                    "end": "finished",
                }
            ]
            * 3,
        )
        there_and_back(source, target, tmp_path)
        later = target.tracking.start_run(experiment="e0")
        assert later.experiment == target.tracking.experiment(name="e0").id
        assert target.tracking.create_experiment(name="new").id == 3
        target.tracking.log(run=later.id, metrics=[Metric(key="x", value=1)])
        assert target.events.verify().intact


def test_the_files_are_read_without_treadle(tmp_path: Path) -> None:
    with embedded(tmp_path / "home") as platform:
        run = platform.tracking.start_run(experiment="e", params={"lr": "0.1"}, started_at=START).id
        values = np.array([1.5, np.nan, np.inf])
        at = np.arange(3) * 1_000_000
        piece = pack_arrays(Points(np.arange(3), np.array([0, 0.5, 0]), at, values))
        platform.tracking.write(batches=[Batch(run=run, points={"loss": piece})])
        digest = platform.blobs.put(b"hello")
        platform.tracking.add_artifact(run=run, path="a.txt", digest=digest, bytes=5)
        found = export_archive(platform.database, platform.blobs, tmp_path / "out")
    assert (found.points, found.tables["runs"], found.blobs) == (3, 1, 1)
    assert rows_of(
        f"SELECT run, step + fraction, value, timestamp FROM '{tmp_path}/out/points/*.parquet'"
    ) == [
        (run, 0, 1.5, datetime(1970, 1, 1)),
        (run, 1.5, None, datetime(1970, 1, 1) + timedelta(seconds=1)),
        (run, 2, math.inf, datetime(1970, 1, 1) + timedelta(seconds=2)),
    ]
    assert rows_of(f"SELECT started_at FROM '{tmp_path}/out/tables/runs.parquet'") == [
        (START.replace(tzinfo=None),)
    ]
    assert (tmp_path / "out" / "blobs" / digest[:2] / digest).read_bytes() == b"hello"


def test_rights_and_secrets_do_not_travel(tmp_path: Path) -> None:
    with embedded(tmp_path / "home") as platform:
        secret = platform.access.create_token(name="me", role="admin").secret
        export_archive(platform.database, platform.blobs, tmp_path / "out")
        assert not (tmp_path / "out" / "tables" / "access_tokens.parquet").exists()
        assert all(secret.encode() not in content for content in written(tmp_path / "out").values())


def test_many_points_go_into_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.interop.archive_points.POINTS_IN_FILE", 1_000)
    with embedded(tmp_path / "a") as source, embedded(tmp_path / "b") as target:
        run = source.tracking.start_run(experiment="e").id
        for key, count in (("a", 2_500), ("b", 10), ("c", 999)):
            piece = pack_arrays(
                Points(np.arange(count), None, np.arange(count), np.random.rand(count))
            )
            source.tracking.write(batches=[Batch(run=run, points={key: piece})])
        files = there_and_back(source, target, tmp_path)
        assert sorted(name for name in files if name.startswith("points")) == [
            f"points/{n:05}.parquet" for n in range(4)
        ]
        for key in "abc":
            before, after = (p.tracking.points(run=run, key=key) for p in (source, target))
            assert np.array_equal(before.value, after.value) and np.array_equal(
                before.whole, after.whole
            )


def test_what_is_no_whole_archive_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with embedded(tmp_path / "a") as source, embedded(tmp_path / "b") as target:
        filled(
            source, [{"params": {}, "tags": {}, "points": [("x", 1, 2.0)], "file": b"x", "end": ""}]
        )
        out = tmp_path / "out"
        export_archive(source.database, source.blobs, out)
        with pytest.raises(Conflict, match="not an empty folder"):
            export_archive(source.database, source.blobs, out)
        with pytest.raises(Conflict, match="has a history already"):
            import_archive(out, source.database, source.blobs)
        with pytest.raises(NotFound, match="is no archive"):
            import_archive(tmp_path, target.database, target.blobs)
        blob = next(file for file in (out / "blobs").rglob("*") if file.is_file())
        before = blob.read_bytes()
        blob.write_bytes(before + b"!")
        with pytest.raises(Corrupt, match="is damaged"):
            import_archive(out, target.database, target.blobs)
        blob.write_bytes(before)
        manifest = json.loads((out / MANIFEST).read_bytes())
        for change, kind in (
            ({"format": 9}, Invalid),
            ({"points": 7}, Corrupt),
            ({"blobs": 7}, Corrupt),
        ):
            (out / MANIFEST).write_text(json.dumps(manifest | change))
            with pytest.raises(kind):
                import_archive(out, target.database, target.blobs)
        (out / MANIFEST).write_text(json.dumps(manifest))
        assert target.tracking.find() == [] and target.events.history() == []
        import_archive(out, target.database, target.blobs)


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    with embedded(tmp_path / "home") as platform:
        filled(
            platform,
            [{"params": {}, "tags": {}, "points": [("x", 1, 2.0)], "file": b"x", "end": ""}],
        )

    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "treadle", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
        ).stdout

    assert "1 points and 1 contents (1 bytes) to 'out'" in said("export", "out", "--home", "home")
    told = said("import", "treadle", "out", "--home", "other")
    assert "Took in 1 runs with 1 points" in told and "chain intact" in told
    assert json.loads(said("export", "again", "--home", "other", "--json"))["points"] == 1


def test_an_archive_of_before_events_had_a_column_for_it_is_taken_in(tmp_path: Path) -> None:
    with embedded(tmp_path / "source") as source:
        source.tracking.start_run(experiment="e", project="p")
        export_archive(source.database, source.blobs, tmp_path / "archive")
    events = tmp_path / "archive" / "tables" / "events.parquet"
    with duckdb.connect() as connection:
        older = f"SELECT * EXCLUDE (project) FROM read_parquet('{events}')"
        connection.execute(f"COPY ({older}) TO '{tmp_path / 'older.parquet'}' (FORMAT parquet)")
    (tmp_path / "older.parquet").replace(events)
    manifest = tmp_path / "archive" / MANIFEST
    older_manifest = json.loads(manifest.read_bytes())
    del older_manifest["files"]
    manifest.write_text(json.dumps(older_manifest))
    with embedded(tmp_path / "target") as target:
        import_archive(tmp_path / "archive", target.database, target.blobs)
        assert {record.project for record in target.events.history()} == {"p"}
        assert target.events.verify().intact


def test_any_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    """In tables, points, contents and the manifest: no archive gives other values than it had."""
    out = tmp_path / "out"
    with embedded(tmp_path / "home") as source:
        points: list[tuple[str, Any, float]] = [("x", 1, 2.0), ("x", 2, 3.5)]
        facts = {"params": {"a": "1"}, "tags": {"b": "2"}, "points": points}
        filled(source, [{**facts, "file": bytes(range(40)), "end": "finished"}])
        export_archive(source.database, source.blobs, out)
    whole = {name: content for name, content in written(out).items() if name != "README.md"}
    random = np.random.default_rng(5)
    names = sorted(whole)
    found = 0
    with embedded(tmp_path / "target") as target:
        for _ in range(300):
            name = names[random.integers(len(names))]
            content = bytearray(whole[name])
            content[random.integers(len(content))] ^= 1 << int(random.integers(8))
            (out / name).write_bytes(content)
            try:
                manifest = read_manifest(out)
                _verify(out, manifest)
                _read_blobs(out / "blobs", target.blobs, manifest, lambda *_: None)
            except TreadleError:
                found += 1
            else:  # the manifest's text of a version, or a count that the import itself compares
                assert name == MANIFEST, name
            (out / name).write_bytes(whole[name])
        assert found > 250
