"""Erasing a person while others add, share and forge contents."""

from collections.abc import Callable
from typing import Any

import pytest

from treadle.data.erasing import local
from treadle.data.erasing.records import Erased, ErasedContents
from treadle.data.erasing.subject import Subject
from treadle.data.service import Data
from treadle.kernel.errors import Conflict, Invalid
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files, read_files

ADA = "ada.lovelace@analytical.example"
WHO = [Subject(key="email", value=ADA)]
ROWS = f"id,email\n0,bob@x.example\n1,{ADA}\n".encode()
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
        original = local.spare_named

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
            file = {"digest": home.blobs.put(text), "bytes": len(text)}
            home.tracking.add_artifact(run=run, path=f"{number}.json", **file)
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
