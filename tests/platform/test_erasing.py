"""Erasing a person: nothing of them is left in the home, whatever held it and whenever it stops."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.platform.conftest import opened
from tests.platform.test_platforms import served
from treadle.data.engine import query_engine
from treadle.data.erasing.local import LocalErasures
from treadle.data.erasing.subject import Subject
from treadle.data.model import Label
from treadle.kernel.clock import EPOCH, ManualClock, to_micros
from treadle.kernel.entity import from_json, to_json, to_packed
from treadle.kernel.errors import Conflict, Forbidden, NotFound
from treadle.kernel.ids import new_id
from treadle.monitoring.tables import log_files
from treadle.platform.collect import collect
from treadle.platform.remote import connect
from treadle.platform.settings import settings_for
from treadle.platform.verify.check import verify_home
from treadle.platform.wiring import Embedded
from treadle.ports.online_store import OnlineRow
from treadle.ports.runtime import Field, Layout
from treadle.ports.tree import fetch_tree, put_files, read_files
from treadle.registry.model import ERASED_TAG
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.log_files import InferenceLogs
from treadle.serving.rows import Rows

ADA = "ada.lovelace@analytical.example"
WHO = [Subject(key="email", value=ADA)]


def files_with(folder: Path, value: bytes) -> list[str]:
    """The files below a folder that have some bytes; also of SQLite's pages and logs."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files if value in path.read_bytes())


def table(rows: list[str]) -> bytes:
    return ("id,email\n" + "".join(f"{row},{email}\n" for row, email in enumerate(rows))).encode()


def parquet(folder: Path, rows: list[str]) -> bytes:
    file = folder / "made.parquet"
    with query_engine() as connection:
        connection.execute("CREATE OR REPLACE TEMP TABLE t (id BIGINT, email VARCHAR)")
        for row, email in enumerate(rows):
            connection.execute("INSERT INTO t VALUES (?, ?)", [row, email])
        connection.execute(f"COPY t TO '{file}' (FORMAT parquet, COMPRESSION uncompressed)")
    return file.read_bytes()


def log_rows(home: Embedded, endpoint: str, emails: list[str], *, days: int = 0) -> None:
    at = to_micros(home.clock.now() + timedelta(days=days))
    count = len(emails)
    batch = LogBatch.of(
        ids=[f"{endpoint}-{days}-{row}" for row in range(count)],
        counts=[1] * count,
        micros=[900] * count,
        at=at,
        version="m:1",
        role="champion",
        generation=1,
        layout=Layout([Field(name="x", kind="number"), Field(name="email", kind="text")]),
        rows=Rows(np.zeros((count, 1)), np.array([[email] for email in emails], dtype=object)),
        outputs=np.zeros(count, dtype=np.float32),
        errors={},
    )
    writer = LogWriter(home.settings.folder / "endpoints" / endpoint / "log")
    writer.append(batch)
    writer.close()


def test_nothing_of_a_person_is_left_in_a_home_with_everything(home: Path, tmp_path: Path) -> None:
    with opened(home) as platform:
        store, data = platform.blobs, platform.data
        rows = ["bob@x.example", ADA, "eve@x.example"]
        first = put_files(store, {"a.csv": table(rows), "b.csv": table(rows[:1])})
        second = put_files(
            store, {"a.csv": table(rows), "c.parquet": parquet(tmp_path, rows), "d.txt": b"plain"}
        )
        assert isinstance(platform.clock, ManualClock)
        data.add(project="flights", name="people", digest=first)
        platform.clock.advance(timedelta(hours=1))
        data.add(project="flights", name="people", digest=second)
        data.add(project="flights", name="gone", digest=put_files(store, {"z.csv": table(rows)}))
        gone = data.versions(project="flights", name="gone")[0]
        data.remove(project="flights", name="gone", digest=gone.digest)
        fetch_tree(store, second, home / "cache" / second)
        run = platform.tracking.start_run(project="flights", name="r").id
        digest = store.put(table(rows))
        platform.tracking.add_artifact(run=run, path="seen.csv", digest=digest, bytes=99)
        for _ in range(2):
            log_rows(platform, "second", rows)
            platform.clock.advance(timedelta(days=1))
        platform.reconcile()
        log_rows(platform, "second", rows)  # a record of today
        labels = [Label(request="second-0-0", value=1.0), Label(request="second-0-1", value=0.0)]
        data.add_labels(project="flights", labels=labels)
        online = platform.online_store()
        packed = to_packed({"email": ADA, "age": 36})
        online.write(
            "flights/people",
            [OnlineRow("7", 1, 1, packed), OnlineRow("8", 1, 1, to_packed({"email": "b"}))],
        )
        before = platform.monitoring.log_files(endpoint="second")
        assert files_with(home, ADA.encode())

        plan = platform.erasure.plan(subjects=WHO)
        erased = platform.erasure.begin(WHO, None)
        assert files_with(home / "cache" / "erasing", ADA.encode()) == []
        erased = platform.erasure.finish(erased.id)

        assert erased.state == "done"
        places = {place.what for place in erased.places}
        assert places == {place.what for place in plan.places}
        assert "the inference log of 'second' on the disk" in places
        assert "labels of requests of project 'flights'" in places
        assert "online features of view 'people' of project 'flights'" in places
        newest, older = data.versions(project="flights", name="people")
        assert (newest.replaces, older.replaces) == ([second], [first])
        left = read_files(store, newest.digest)
        assert left["a.csv"] == b"id,email\n0,bob@x.example\n2,eve@x.example\n"
        assert left["d.txt"] == b"plain"
        assert read_files(store, older.digest)["b.csv"] == table(rows[:1])
        with pytest.raises(Conflict, match="erased"):
            data.changes(project="flights", name="people", old=first, new=newest.digest)
        with pytest.raises(Conflict, match="erased"):
            data.add(project="flights", name="again", digest=put_files(store, {"a": table(rows)}))
        collect(platform, older_than_seconds=0)
        assert data.labels_of("flights", ["second-0-0", "second-0-1"]) == {"second-0-0": 1.0}
        after = platform.monitoring.log_files(endpoint="second")
        assert [day.rows for day in after] == [day.rows - 1 for day in before[:2]] + [160, 160]
        logs = InferenceLogs(home / "endpoints")
        until = platform.clock.now() + timedelta(days=1)
        for day in after:
            kept = logs.folder("second") / f"{day.day}.parquet"
            if not kept.exists():
                store.fetch(day.digest, kept)
        logged = logs.read("second", EPOCH, until)
        emails = [str(row.inputs["email"]) for row in logged if row.inputs.get("email")]
        assert sorted(set(emails)) == ["bob@x.example", "eve@x.example"]
        assert emails.count("bob@x.example") == 3
        assert [row.key for row in online.rows("flights/people")] == ["8"]  # type: ignore[attr-defined]
        assert platform.events.verify().intact
    assert files_with(home, ADA.encode()) == []
    assert not verify_home(home).failed


def people(home: Embedded, project: str, rows: list[str], name: str = "people") -> str:
    digest = put_files(home.blobs, {"a.csv": table(rows)})
    home.data.add(project=project, name=name, digest=digest)
    return digest


def test_models_that_learnt_from_the_rows_are_marked(home: Path) -> None:
    subject = [Subject(key="distance", value="0.299")]
    with opened(home) as platform:
        (version,) = platform.data.versions(project="flights", name="flights")
        learnt = {one.version for one in platform.lineage.seen(data=version.digest)}
        erased = platform.erasure.finish(platform.erasure.begin(subject, "flights").id)
        assert {model.version for model in erased.models} == learnt
        live = {model.version: model.endpoints for model in erased.models}
        assert live["flights:3"] == ["flights"]
        marked = platform.registry.get(model="flights", number=3)
        assert marked.tags == {ERASED_TAG: erased.id}
        assert marked.approval is None or platform.registry.verify_approval(
            model="flights", number=3
        )
        assert platform.events.why(subject="flights:2").events[0].type == "TrainingDataErased"
        assert "has since been erased" in platform.lineage.card(version="flights:3")
        # What was erased before counts when the next person is: the models have seen them too.
        other = platform.erasure.begin([Subject(key="distance", value="0.490")], None)
        assert {one.version for one in platform.erasure.finish(other.id).models} == learnt
        assert {one.version for one in platform.lineage.seen(data=version.digest)} == learnt
    assert not verify_home(home).failed


def test_the_record_tells_nobody_who_it_was(open_home: Callable[..., Embedded]) -> None:
    with open_home() as platform:
        people(platform, "p", ["bob@x.example", ADA])
        erased = platform.erasure.finish(platform.erasure.begin(WHO, None).id)
        told = [record for record in platform.events.history() if "rasure" in record.type]
        assert [record.type for record in told] == ["ErasureStarted", "ErasureDone"]
        assert ADA not in str(told) and "email" not in str(told)
        check = platform.erasure.check
        assert check(erasure=erased.id, subject=Subject(key="Email", value=ADA))
        assert not check(erasure=erased.id, subject=Subject(key="email", value="bob@x.example"))
        with pytest.raises(Conflict, match="done"):
            platform.erasure.resume(erasure=erased.id)
        assert platform.events.verify().intact


@pytest.mark.parametrize("kept", ["in the store", "on the disk"])
def test_a_damaged_day_of_a_log_is_named_and_stops_nothing(home: Path, kept: str) -> None:
    with opened(home) as platform:
        log_rows(platform, "second", [ADA])
        assert isinstance(platform.clock, ManualClock)
        platform.clock.advance(timedelta(days=1))
        platform.reconcile()
        day = max(platform.monitoring.log_files(endpoint="second"), key=lambda one: one.day)
        on_disk = home / "endpoints" / "second" / "log" / f"{day.day}.parquet"
        if kept == "on the disk":
            on_disk.parent.mkdir(parents=True, exist_ok=True)
            on_disk.write_bytes(b"PAR1 and no more")
        else:
            on_disk.unlink(missing_ok=True)
            with platform.database.write() as transaction:
                digest = platform.blobs.put(b"no table")
                same = log_files.c.day == day.day
                transaction.execute(log_files.update().where(same).values(digest=digest))
        people(platform, "flights", ["bob@x.example", ADA])
        left = {one.what: one.why for one in platform.erasure.plan(subjects=WHO).left}
        why = left["labels of requests of project 'flights'"]
        assert f"second {day.day}" in why and "cannot be read" in why
        if kept == "on the disk":
            assert "cannot be read" in left["the inference log of 'second' on the disk"]
        erased = platform.erasure.begin(WHO, None)
        assert platform.erasure.finish(erased.id).state == "done"


def test_nobody_is_erased_who_is_not_there(open_home: Callable[..., Embedded]) -> None:
    with open_home() as platform:
        people(platform, "p", ["bob@x.example"])
        before = platform.events.last_number()
        with pytest.raises(NotFound, match="Nothing was recorded"):
            platform.erasure.begin(WHO, None)
        assert platform.events.last_number() == before
        assert platform.erasure.erasures() == []


def test_another_project_keeps_its_rows_and_is_not_told_of(
    open_home: Callable[..., Embedded],
) -> None:
    with open_home() as platform:
        rows = ["bob@x.example", ADA]
        shared = people(platform, "p", rows)
        assert people(platform, "q", rows) == shared
        people(platform, "q", [ADA], name="secret")
        plan = platform.erasure.plan(subjects=WHO, project="p")
        assert "'q'" not in str(plan) and "secret" not in str(plan)
        erased = platform.erasure.finish(platform.erasure.begin(WHO, "p").id)
        assert "'q'" not in str(erased) and "secret" not in str(erased)
        assert read_files(platform.blobs, shared)["a.csv"] == table(rows)
        assert platform.data.versions(project="q", name="people")[0].digest == shared
        (own,) = platform.data.versions(project="p")
        assert read_files(platform.blobs, own.digest)["a.csv"] == table(rows[:1])
        everything = platform.erasure.finish(platform.erasure.begin(WHO, None).id)
        assert {place.project for place in everything.places} == {"q"}
        assert files_with(platform.settings.folder, ADA.encode()) == []


def test_a_server_s_worker_erases(open_home: Callable[..., Embedded]) -> None:
    with open_home() as platform:
        people(platform, "p", ["bob@x.example", ADA])
        admin = platform.access.create_token(name="root", role="admin").secret
        boss = platform.access.create_token(name="boss", role="admin", project="p").secret
        editor = platform.access.create_token(name="ed", role="editor", project="p").secret
        with served(platform) as url:
            for token, project in ((editor, "p"), (boss, None), (boss, "q"), (editor, None)):
                with connect(url, token=token) as remote, pytest.raises(Forbidden):
                    remote.erasure.plan(subjects=WHO, project=project)
            with connect(url, token=boss) as remote:
                assert remote.erasure.plan(subjects=WHO, project="p").rows == 1
                begun = remote.erasure.start(subjects=WHO, project="p")
                assert begun.state == "erasing"
                job = platform.jobs.lease("w")
                assert job is not None
                platform.run_job(job)
                done = remote.erasure.get(erasure=begun.id)
                assert (done.state, done.rows, done.actor) == ("done", 1, "boss")
                assert [one.id for one in remote.erasure.erasures(project="p")] == [begun.id]
            people(platform, "q", [ADA])
            with connect(url, token=admin) as remote:
                whole = remote.erasure.start(subjects=WHO)
            with connect(url, token=boss) as remote, pytest.raises(Forbidden):
                remote.erasure.get(erasure=whole.id)


WORK = """
import sys
from treadle.data.erasing.subject import Subject
from treadle.platform.start import embedded

with embedded(sys.argv[1]) as platform:
    print("begins", flush=True)
    going = [one.id for one in platform.erasure.erasures() if one.state == "erasing"]
    who = [Subject(key="email", value=sys.argv[2])]
    begun = going[0] if going else platform.erasure.begin(who, None).id
    print(platform.erasure.finish(begun).state)
"""


def test_killed_at_any_moment_it_goes_on(open_home: Callable[..., Embedded]) -> None:
    with open_home() as platform:
        home = platform.settings.folder
        noise = random.Random(1)
        for version in range(6):
            rows = [f"{noise.random()}@x.example" for _ in range(2_000)]
            rows.insert(noise.randrange(2_000), ADA)
            people(platform, "p", rows, name=f"d{version % 3}")
        log_rows(platform, "free", [*rows[:50], ADA])
        digests = {one.digest for one in platform.data.versions(project="p")}
    moment, states = random.Random(os.environ.get("TREADLE_SEED")), list[str]()
    for _ in range(5):
        command = [sys.executable, "-c", WORK, str(home), ADA]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(moment.uniform(0, 0.4))
            os.kill(process.pid, signal.SIGKILL)
        with Embedded(settings_for(home)) as platform:
            states = [one.state for one in platform.erasure.erasures()]
            assert platform.events.verify().intact
            if "done" in states:
                break
            here = {one.digest for one in platform.data.versions(project="p")}
            assert here == digests or not here & digests  # all of them, or none
    with Embedded(settings_for(home)) as platform:
        for one in platform.erasure.erasures() if states else [platform.erasure.begin(WHO, None)]:
            done = platform.erasure.finish(one.id)
            assert (done.state, done.rows) == ("done", 7)
        assert len(platform.data.versions(project="p")) == 6
    assert files_with(home, ADA.encode()) == []
    assert not verify_home(home).failed


EMAILS = st.sampled_from([ADA, "bob@x.example", "eve@x.example", "n0body@x.example"])
TABLES = st.lists(st.lists(EMAILS, max_size=8), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(settings_for(tmp_path_factory.mktemp("erasing") / "home")) as platform:
        yield platform


@settings(max_examples=12)
@given(versions=TABLES, kinds=st.lists(st.sampled_from(["csv", "parquet", "jsonl"]), min_size=4))
def test_random_versions_lose_the_person_and_nothing_else(
    shared_home: Embedded, versions: list[list[str]], kinds: list[str]
) -> None:
    home, folder = shared_home, shared_home.settings.folder.parent
    name, same = new_id("data"), table(["bob@x.example"])
    held: dict[str, tuple[str, list[str]]] = {}
    for rows, kind in zip(versions, kinds, strict=False):
        marked = [f"{name}@x.example", *rows]  # what was erased once may not come back
        content = written(kind, marked, folder)
        digest = put_files(home.blobs, {"same.csv": same, f"{len(held)}.{kind}": content})
        home.data.add(project="p", name=name, digest=digest)
        held[digest] = kind, marked
    (folder / "made.parquet").unlink(missing_ok=True)
    if not any(ADA in rows for _, rows in held.values()):
        with pytest.raises(NotFound):
            home.erasure.begin(WHO, None)
        return
    home.erasure.finish(home.erasure.begin(WHO, None).id)
    now = {
        old: version.digest
        for version in home.data.versions(project="p", name=name)
        for old in version.replaces or [version.digest]
    }
    assert now.keys() == held.keys()
    for old, (kind, rows) in held.items():
        assert (old == now[old]) == (ADA not in rows)
        files = read_files(home.blobs, now[old])
        assert files.pop("same.csv") == same
        (content,) = files.values()
        assert emails_in(kind, content, folder) == [email for email in rows if email != ADA]
    assert files_with(folder, ADA.encode()) == []


def written(kind: str, rows: list[str], folder: Path) -> bytes:
    if kind == "csv":
        return table(rows)
    if kind == "parquet":
        return parquet(folder, rows)
    return b"".join(to_json({"email": email, "who": {"age": 36}}) + b"\n" for email in rows)


def emails_in(kind: str, content: bytes, folder: Path) -> list[str]:
    if kind == "jsonl":
        lines = [from_json(line, dict[str, Any]) for line in content.splitlines()]
        return [line["email"] for line in lines]
    if kind == "csv":
        return [line.split(",")[1] for line in content.decode().splitlines()[1:]]
    file = folder / "read.parquet"
    file.write_bytes(content)
    with query_engine() as connection:
        rows = connection.execute(f"SELECT email FROM read_parquet('{file}')").fetchall()
    return [email for (email,) in rows]


STEPS = ("_keep_left", "_erase", "_remove", "_scrub", "_end")


def test_stopped_after_any_step_it_goes_on(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home() as platform:
        for number, step in enumerate(STEPS):
            people(platform, "p", [f"{number}@x.example", ADA], name=step)
            log_rows(platform, "free", [ADA])
            erasure = platform.erasure.begin(WHO, None).id
            with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
                patched.setattr(LocalErasures, step, interrupted(getattr(LocalErasures, step)))
                platform.erasure.finish(erasure)
            state = platform.erasure.get(erasure=erasure).state
            assert state == ("done" if step == "_end" else "erasing")
            if state == "erasing":
                with pytest.raises(Conflict, match="--resume"):
                    platform.erasure.begin(WHO, None)
            done = platform.erasure.finish(erasure)
            assert (done.state, done.rows) == ("done", 2)
            assert files_with(platform.settings.folder, ADA.encode()) == []
            assert platform.data.versions(project="p", name=step)[0].replaces
        assert platform.events.verify().intact


def interrupted(step: Callable[..., None]) -> Callable[..., None]:
    """A step after which the process is stopped."""

    def work(*arguments: object) -> None:
        step(*arguments)
        raise KeyboardInterrupt

    return work
