"""Erasing a person while others add, share and forge contents."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from treadle.data.erasing import local
from treadle.data.erasing.records import Erased, ErasedContents
from treadle.data.erasing.subject import Subject
from treadle.data.service import Data
from treadle.kernel.clock import EPOCH
from treadle.kernel.errors import Conflict, Invalid
from treadle.pipelines.tables import pipeline_steps, pipelines, step_cache
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files, read_files

ADA = "ada.lovelace@analytical.example"
WHO = [Subject(key="email", value=ADA)]
ROWS = f"id,email\n0,bob@x.example\n1,{ADA}\n".encode()
PIPELINE: dict[str, Any] = {
    **dict.fromkeys(("code", "file"), ""),
    **dict.fromkeys(("datasets", "parameters", "allowance", "plan"), "{}"),
    "step_timeout_seconds": 1.0,
    "asof": EPOCH,
    "started_at": EPOCH,
    "state": "succeeded",
    "actor": "a",
}
LEFT = b"id,email\n0,bob@x.example\n"


def added(home: Embedded, project: str, name: str = "people", content: bytes = ROWS) -> str:
    digest = put_files(home.blobs, {"a.csv": content})
    home.data.add(project=project, name=name, digest=digest)
    return digest


def erased(home: Embedded, project: str | None = None) -> Any:
    return home.erasure.finish(home.erasure.begin(WHO, project).id)


def once_after(
    patch: pytest.MonkeyPatch, owner: Any, name: str, work: Callable[[], object]
) -> None:
    """Let something happen after the next call of a function."""
    original = getattr(owner, name)

    def call(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        patch.setattr(owner, name, original)
        work()
        return result

    patch.setattr(owner, name, call)


def test_a_version_that_is_added_while_its_rows_are_erased_is_refused(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home() as home:
        added(home, "p")
        begun = home.erasure.begin(WHO, None).id
        digest = put_files(home.blobs, {"a.csv": ROWS, "b.txt": b"more"})
        once_after(monkeypatch, Data, "_admitted", lambda: home.erasure.finish(begun))
        with pytest.raises(Conflict, match="erased") as refused:
            home.data.add(project="p", name="again", digest=digest)
        assert begun not in str(refused.value)  # who tries values learns of no erasure
        assert home.data.versions(project="p", name="again") == []


def test_what_another_project_adds_while_contents_are_removed_stays(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home() as home:
        digest = added(home, "p")
        begun = home.erasure.begin(WHO, "p").id
        original = vars(local)["spare_named"]

        def spare(*arguments: Any, **named: Any) -> None:
            original(*arguments, **named)
            if arguments[2]:
                monkeypatch.setattr(local, "spare_named", original)
                home.data.add(project="q", name="late", digest=digest)  # stored before

        monkeypatch.setattr(local, "spare_named", spare)
        assert home.erasure.finish(begun).state == "done"
        assert read_files(home.blobs, digest) == {"a.csv": ROWS}
        (own,) = home.data.versions(project="p")
        assert read_files(home.blobs, own.digest) == {"a.csv": LEFT}


def test_a_version_that_comes_back_is_erased_again(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home() as home:
        added(home, "p")
        added(home, "q")
        erased(home, "p")
        nothing = Erased(frozenset(), frozenset())
        with monkeypatch.context() as patched:
            patched.setattr(ErasedContents, "of", lambda *_: nothing)
            added(home, "p")
        assert erased(home, "p").rows == 1


def test_a_forged_tree_lends_no_file_of_another_project(
    open_home: Callable[..., Embedded],
) -> None:
    with open_home() as home:
        foreign, own = home.blobs.put(b"id,email\n0,eve@x.example\n"), home.blobs.put(ROWS)
        entry = '"%s":{"digest":"%s","bytes":9}'
        both = f"{entry % ('a.csv', foreign)},{entry % ('z.csv', own)}"
        for text in (f'{{"files":{{{both}~~', f'{{"files":{{{both}}},"more":{{}}}}'):
            with pytest.raises(Invalid):
                digest = home.blobs.put(text.encode())
                home.data.add(project="p", name="forged", digest=digest)


def test_a_file_that_begins_as_a_tree_is_a_file(open_home: Callable[..., Embedded]) -> None:
    with open_home() as home:
        added(home, "p")
        run = home.tracking.start_run(project="q", name="r").id
        for number, text in enumerate((b'{"files": ["a.py"]}', b'{"files":{"a":1}}', b'{"files":')):
            digest = home.blobs.put(text)
            path = f"{number}.json"
            home.tracking.add_artifact(run=run, path=path, digest=digest, bytes=len(text))
        assert erased(home, "p").state == "done"
        added(home, "q", "other", LEFT + b"2,x\n" + ROWS)
        assert erased(home).state == "done"


def test_content_that_this_home_has_never_named_is_left(
    open_home: Callable[..., Embedded],
) -> None:
    with open_home() as home:
        added(home, "p")
        output = home.blobs.put(ROWS + b"2,eve@x.example\n")  # a step is about to name it
        tree = put_files(home.blobs, {"b.csv": ROWS + b"3,eve@x.example\n"})
        removed = added(home, "p", "gone", ROWS + b"4,eve@x.example\n")
        home.data.remove(project="p", name="gone", digest=removed)
        done = erased(home)
        left = {one.what for one in done.left if one.has_value}
        assert home.blobs.has(tree) and not home.blobs.has(removed)
        assert f"content {tree[:12]}" in left
        assert home.blobs.has(output)


def test_another_project_s_jobs_and_cached_steps_stay(open_home: Callable[..., Embedded]) -> None:
    with open_home() as home:
        digest = added(home, "p")
        added(home, "q")
        with home.database.write() as transaction:
            ids = {
                name: home.jobs.enqueue(
                    transaction, kind="k", payload={"data": digest}, project=name
                )
                for name in ("p", "q")
            }
            for name in ("p", "q"):
                transaction.execute(pipelines.insert().values(id=name, project=name, **PIPELINE))
            step = {"pipeline": "q", "name": "s", "place": 0, "state": "succeeded", "cached": False}
            transaction.execute(pipeline_steps.insert().values(output=digest, seconds=0, **step))
            for key, output in (("q", digest), ("p", "0" * 64)):
                cached = step_cache.insert().values(key=key, output=output, kind="table")
                transaction.execute(cached)
        erased(home, "p")
        (own,) = home.data.versions(project="p")
        assert home.jobs.get(job=ids["q"]).payload == {"data": digest}
        assert home.jobs.get(job=ids["p"]).payload == {"data": own.digest}
        with home.database.read() as connection:
            assert set(connection.scalars(select(step_cache.c.key))) == {"p", "q"}
