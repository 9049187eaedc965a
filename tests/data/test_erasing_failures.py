"""Erasing a person where something cannot be done: it is reported, and nothing waits for ever."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.data.test_erasing_races import ADA, LEFT, ROWS, WHO, added, erased
from treadle.cli.data_erasing import _refuse_failed
from treadle.data.erasing import replacing
from treadle.data.erasing.subject import Subject
from treadle.kernel.errors import Conflict
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files, read_files


def breaks_on_json(patch: pytest.MonkeyPatch) -> None:
    original = vars(replacing)["redact"]

    def redact(file: Path, name: str, *rest: Any) -> int:
        if name.endswith(".json"):
            raise UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates not allowed")
        return int(original(file, name, *rest))

    patch.setattr(replacing, "redact", redact)


def test_a_file_that_cannot_be_rewritten_is_left_and_the_rest_goes(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks_on_json(monkeypatch)
    entries = f'[{{"email":"{ADA}"}},{{"email":"b"}}]'.encode()
    with open_home() as home:
        both = put_files(home.blobs, {"a.csv": ROWS, "b.json": entries})
        home.data.add(project="p", name="both", digest=both)
        alone = put_files(home.blobs, {"b.json": entries})
        home.data.add(project="p", name="alone", digest=alone)
        done = erased(home)
        assert (done.state, done.rows) == ("done", 1)
        (left,) = (one for one in done.left if "'both'" in one.what)
        assert left.has_value and "UnicodeEncodeError" in left.why
        (now,) = home.data.versions(project="p", name="both")
        assert read_files(home.blobs, now.digest) == {"a.csv": LEFT, "b.json": entries}
        assert home.data.versions(project="p", name="alone")[0].digest == alone


def test_an_erasure_that_cannot_go_on_is_given_up(
    open_home: Callable[..., Embedded], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home() as home:
        added(home, "p")
        begun = home.erasure.start(subjects=WHO, project="p")
        job = home.jobs.lease("w")
        assert job is not None and job.id == begun.job
        home.jobs.fail(job, "the disk is full", final=True)
        with pytest.raises(Conflict, match=r"the disk is full.*--abandon"):
            _refuse_failed(cast(Any, SimpleNamespace(jobs=home.jobs)), begun)
        given_up = home.erasure.abandon(erasure=begun.id)
        assert (given_up.state, given_up.rows) == ("abandoned", 0)
        assert home.erasure.finish(begun.id).state == "abandoned"
        for again in (home.erasure.abandon, home.erasure.resume):
            with pytest.raises(Conflict, match="abandoned"):
                again(erasure=begun.id)
        (told,) = home.events.history(type="ErasureAbandoned")
        assert told.subject == f"erasure:{begun.id}"
        bob = [Subject(key="email", value="bob@x.example")]
        assert home.erasure.finish(home.erasure.begin(bob, None).id).rows == 1


def test_the_record_has_no_name_with_the_value(open_home: Callable[..., Embedded]) -> None:
    with open_home() as home:
        files: dict[str, Path | bytes] = {f"{ADA}.csv": ROWS, f"{ADA}.pkl": b"of " + ADA.encode()}
        home.data.add(project="p", name="named", digest=put_files(home.blobs, files))
        run = home.tracking.start_run(project="p", name="r").id
        for number, path in enumerate((f"{ADA}/rows.csv", f"{ADA.upper()}/rows.csv")):
            content = ROWS + b"%d,x\n" % number
            digest = home.blobs.put(content)
            home.tracking.add_artifact(run=run, path=path, digest=digest, bytes=len(content))
        plan = home.erasure.plan(subjects=WHO)
        done = erased(home)
        assert len(done.places) == 3 and any(one.has_value for one in done.left)
        (told,) = home.events.history(type="ErasureDone")
        for text in (str(plan), str(done), str(told.body)):
            assert ADA not in text.lower() and "[the value]" in text
