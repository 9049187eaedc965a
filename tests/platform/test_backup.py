"""A backup of a home that is written to is one moment of it, and its restored home is sound."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from tests.backends.test_blobs import s3_endpoint  # noqa: F401 - a fixture
from tests.platform.conftest import opened
from tests.platform.everything import contents_of, rows_of
from treadle.interop.archive import LEFT_OUT, export_archive, import_archive
from treadle.kernel.errors import Conflict, Corrupt, Invalid, NotFound
from treadle.platform.backup.restore import Restored, restore_backup
from treadle.platform.backup.store import Store
from treadle.platform.backup.write import BackupMade, write_backup
from treadle.platform.stages import stages, tables_of
from treadle.platform.verify.check import verify_home
from treadle.platform.verify.folders import verify_path
from treadle.ports.database import Database
from treadle.tracking.model import Metric


def backed_up(home: Path, to: Path, key_file: Path | None = None) -> BackupMade:
    with opened(home) as platform:
        return write_backup(platform, Store(str(to), key_file, make=True))


def restored(url: Path, home: Path, **given: Any) -> Restored:
    return restore_backup(Store(str(url), given.pop("key_file", None)), home, **given)


@contextmanager
def writers(home: Path) -> Iterator[list[BaseException]]:
    """Two threads that record runs with points, files and data for as long as the block lasts."""
    over = threading.Event()
    faults: list[BaseException] = []

    def work(name: str) -> None:
        try:
            with opened(home) as platform:
                number = 0
                while not over.is_set():
                    number += 1
                    run = platform.tracking.start_run(
                        experiment=f"e{name}", params={"n": str(number)}
                    ).id
                    metrics = [Metric(key="loss", value=n / 7, step=n) for n in range(20)]
                    platform.tracking.log(run=run, metrics=metrics)
                    digest = platform.blobs.put(f"{name} {number}".encode() * 20)
                    platform.tracking.add_artifact(run=run, path="f", digest=digest, bytes=1)
                    platform.tracking.finish_run(run=run)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    try:
        yield faults
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert faults == []


class Overheard:
    """A database that keeps what its last snapshot said."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.said: dict[str, list[Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        with self._database.snapshot() as connection:
            self.said = {
                table.name: [
                    tuple(row)
                    for row in connection.execute(
                        select(table).order_by(*table.primary_key.columns)
                    )
                ]
                for table in tables_of(stages())
            }
            yield connection


def test_a_backup_beside_writers_is_one_moment_and_restores_to_it(
    home: Path, tmp_path: Path
) -> None:
    with writers(home), opened(home) as platform:
        platform.database = Overheard(platform.database)
        for _ in range(3):
            write_backup(platform, Store(str(tmp_path / "backup"), make=True))
        said = platform.database.said
        kept = contents_of(platform)
        assert not verify_home(home).failed
    key = home / ".signing.key"
    found = restored(tmp_path / "backup", tmp_path / "new", key=key)
    assert found.authentic
    with opened(tmp_path / "new") as again:
        assert rows_of(again.database) == said
        contents = contents_of(again)
        assert contents == {digest: digest for digest in contents}
        assert contents.keys() <= kept.keys()
        named = {row[2] for row in said["artifacts"]}
        assert named <= contents.keys()
    sound = verify_home(tmp_path / "new")
    assert (sound.findings, sound.notes) == ([], [])


def test_an_export_beside_writers_is_one_moment_and_imports_to_it(
    home: Path, tmp_path: Path
) -> None:
    with writers(home), opened(home) as platform:
        overheard = Overheard(platform.database)
        export_archive(overheard, platform.blobs, tmp_path / "export")
    assert not verify_path(str(tmp_path / "export")).findings
    with opened(tmp_path / "new") as again:
        import_archive(tmp_path / "export", again.database, again.blobs)
        again.events.sign_head()
        rows = rows_of(again.database)
        names = [name for name in rows if name not in LEFT_OUT]
        assert {name: rows[name] for name in names} == {
            name: overheard.said[name] for name in names
        }
        assert {row[2] for row in rows["artifacts"]} <= contents_of(again).keys()
    assert not [
        finding
        for finding in verify_home(tmp_path / "new").findings
        if not finding.thing.startswith("the approval of")  # the archive holds no signing key
    ]


def test_the_next_backup_copies_only_what_is_new(home: Path, tmp_path: Path) -> None:
    first = backed_up(home, tmp_path / "backup")
    assert backed_up(home, tmp_path / "backup").copied == 0
    with opened(home) as platform:
        run = platform.tracking.start_run(experiment="e").id
        digest = platform.blobs.put(b"new" * 1_000)
        platform.tracking.add_artifact(run=run, path="new", digest=digest, bytes=3_000)
    next_one = backed_up(home, tmp_path / "backup")
    assert 2 < next_one.copied < first.copied / 3
    assert (next_one.rows, next_one.contents) > (first.rows, first.contents)


def test_the_newest_backup_up_to_an_event_is_restored(home: Path, tmp_path: Path) -> None:
    first = backed_up(home, tmp_path / "backup")
    with opened(home) as platform:
        platform.tracking.start_run(experiment="later")
    second = backed_up(home, tmp_path / "backup")
    assert second.event > first.event
    backup = tmp_path / "backup"
    assert restored(backup, tmp_path / "newest").event == second.event
    until = restored(backup, tmp_path / "until", until=second.event - 1)
    assert until.event == first.event
    with opened(tmp_path / "until") as platform:
        assert platform.events.last_number() == first.event
    with pytest.raises(NotFound, match=f"No backup ends at event {first.event - 1} or before"):
        restored(backup, tmp_path / "none", until=first.event - 1)


def test_an_encrypted_backup_holds_the_key_and_tells_nothing_without_its_own(
    home: Path, tmp_path: Path
) -> None:
    key_file, other = tmp_path / "key", tmp_path / "other"
    key_file.write_bytes(bytes(range(32)))
    other.write_text("ab" * 32)
    backed_up(home, tmp_path / "backup", key_file)
    assert backed_up(home, tmp_path / "backup", key_file).copied == 0
    signing_key = (home / ".signing.key").read_bytes()
    stored = [file.read_bytes() for file in (tmp_path / "backup").rglob("*") if file.is_file()]
    for secret in (signing_key, b"flights", b"model_versions", b"PAR1"):
        assert not [content for content in stored if secret in content]
    with pytest.raises(Corrupt, match=r"encrypted\. Name its key file"):
        restored(tmp_path / "backup", tmp_path / "new")
    with pytest.raises(Corrupt, match="the key file is another one"):
        restored(tmp_path / "backup", tmp_path / "new", key_file=other)
    with pytest.raises(Invalid, match="There is no key file"):
        restored(tmp_path / "backup", tmp_path / "new", key_file=tmp_path / "absent")
    assert not (tmp_path / "new").exists()
    assert restored(tmp_path / "backup", tmp_path / "new", key_file=key_file).authentic
    assert (tmp_path / "new" / ".signing.key").read_bytes() == signing_key
    assert (tmp_path / "new" / ".signing.key").stat().st_mode & 0o777 == 0o600


def test_without_its_signing_key_a_home_is_restored_and_signs_with_another(
    home: Path, tmp_path: Path
) -> None:
    backed_up(home, tmp_path / "backup")
    assert not [
        file
        for file in (tmp_path / "backup").rglob("*")
        if file.is_file() and (home / ".signing.key").read_bytes() in file.read_bytes()
    ]
    found = restored(tmp_path / "backup", tmp_path / "new")
    assert (found.key, found.authentic) == (False, None)
    with opened(tmp_path / "new") as platform:
        assert platform.events.verify().intact
        approved = next(v for v in platform.registry.find() if v.approval)
        assert not platform.registry.verify_approval(model=approved.model, number=approved.number)
    stranger = tmp_path / "stranger"
    stranger.write_bytes(bytes(32))
    with pytest.raises(Corrupt, match="does not bear the signature"):
        restored(tmp_path / "backup", tmp_path / "forged", key=stranger)


def test_nothing_is_restored_over_what_is_there_nor_from_what_is_damaged(
    home: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    backed_up(home, backup)
    with pytest.raises(Conflict, match="is not an empty folder"):
        restored(backup, home)
    with pytest.raises(NotFound, match="There is no backup"):
        restored(tmp_path / "nowhere", tmp_path / "new")
    assert not (tmp_path / "nowhere").exists()
    content = max(
        (file for file in (backup / "contents").rglob("*") if file.is_file()),
        key=lambda file: file.stat().st_size,
    )
    before = content.read_bytes()
    content.chmod(0o600)
    content.write_bytes(before[:-1])
    with pytest.raises(Corrupt):
        restored(backup, tmp_path / "new")
    (found,) = verify_path(str(backup)).findings
    assert found.affects[0].startswith("the backup of")
    content.unlink()
    with pytest.raises(NotFound):
        restored(backup, tmp_path / "new")
    assert [file for file in tmp_path.iterdir() if "new" in file.name] == []


def test_a_backup_beside_writers_on_postgresql_is_one_moment_and_restores_to_it(
    home: Path, tmp_path: Path, postgres_url: str
) -> None:
    key, backup = home / ".signing.key", tmp_path / "backup"
    backed_up(home, tmp_path / "one")
    restored(tmp_path / "one", tmp_path / "there", database=postgres_url, key=key)
    moments = list[dict[str, list[Any]]]()
    made = list[BackupMade]()
    with writers(tmp_path / "there") as faults, opened(tmp_path / "there") as platform:
        platform.database = Overheard(platform.database)
        for _ in range(2):
            last, until = platform.events.last_number(), time.monotonic() + 60
            while platform.events.last_number() < last + 2:
                assert time.monotonic() < until and not faults, faults
                time.sleep(0.01)
            made.append(write_backup(platform, Store(str(backup), make=True)))
            moments.append(platform.database.said)
    assert made[0].event < made[1].event - 1
    between = made[1].event - 1
    for made_then, moment, until_event in zip(made, moments, (between, None), strict=True):
        new = tmp_path / f"new {made_then.event}"
        found = restored(backup, new, until=until_event, key=key)
        assert (found.event, found.authentic) == (made_then.event, True)
        with opened(new) as again:
            rows = rows_of(again.database)
            assert _nan_free(rows) == _nan_free(moment)
            assert {row[2] for row in rows["artifacts"]} <= contents_of(again).keys()


def test_a_home_goes_to_postgresql_and_back(home: Path, tmp_path: Path, postgres_url: str) -> None:
    key = home / ".signing.key"
    backed_up(home, tmp_path / "one")
    restored(tmp_path / "one", tmp_path / "there", database=postgres_url, key=key)
    with opened(home) as platform:
        expected, contents = rows_of(platform.database), contents_of(platform)
    with opened(tmp_path / "there") as there:
        assert _nan_free(rows_of(there.database)) == _nan_free(expected)
        write_backup(there, Store(str(tmp_path / "two"), make=True))
        later = there.tracking.start_run(experiment="later")
        there.tracking.log(run=later.id, metrics=[Metric(key="loss", value=0.5)])
        assert there.tracking.get(run=later.id).metrics == {"loss": 0.5}
    assert not verify_home(tmp_path / "there").failed
    with pytest.raises(Conflict, match="holds rows already"):
        restored(tmp_path / "one", tmp_path / "again", database=postgres_url, key=key)
    restored(tmp_path / "two", tmp_path / "back", key=key)
    with opened(tmp_path / "back") as back:
        assert rows_of(back.database) == expected
        assert contents_of(back) == contents


def _nan_free(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: sorted(map(repr, table)) for name, table in rows.items()}


def test_numbers_of_what_was_erased_are_not_given_again(home: Path, tmp_path: Path) -> None:
    with opened(home) as platform:
        erased = platform.tracking.create_experiment(name="to be erased").id
        platform.tracking.delete_experiment(id=erased)
        platform.tracking.delete_experiment(id=erased, erase=True)
    backed_up(home, tmp_path / "backup")
    restored(tmp_path / "backup", tmp_path / "new")
    with opened(tmp_path / "new") as platform:
        assert platform.tracking.create_experiment(name="new").id > erased


def test_a_damaged_content_is_left_out_by_name_unless_an_earlier_backup_has_it(
    home: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    backed_up(home, tmp_path / "good")
    digest = damage(home)
    assert backed_up(home, tmp_path / "good").left_out == []
    made = backed_up(home, tmp_path / "late")
    assert (made.left_out, made.failed) == ([digest], True)


@pytest.fixture
def damage() -> Callable[[Path], str]:
    def flip(home: Path) -> str:
        blob = next(file for file in sorted((home / "blobs").rglob("*")) if file.is_file())
        content = bytearray(blob.read_bytes())
        content[0] ^= 1
        blob.chmod(0o600)
        blob.write_bytes(content)
        return blob.parent.name + blob.name

    return flip


def test_a_backup_goes_to_s3(home: Path, tmp_path: Path, s3_endpoint: str) -> None:  # noqa: F811
    import boto3

    region = {"region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=s3_endpoint, **region).create_bucket(Bucket="backups")
    url = f"s3://backups/ours?endpoint={s3_endpoint}&region=us-east-1"
    with opened(home) as platform:
        write_backup(platform, Store(url, make=True))
        expected = rows_of(platform.database)
    assert not verify_path(url).findings
    restore_backup(Store(url), tmp_path / "new", key=home / ".signing.key")
    with opened(tmp_path / "new") as again:
        assert rows_of(again.database) == expected
