"""Reads of data that is declared as sensitive are events: who, what, when, each once in a while."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.pipelines.project import declare, labelled, settled, start, write
from treadle.data.model import SensitiveDataRead
from treadle.data.reads import WINDOW
from treadle.kernel.entity import replace
from treadle.kernel.event import acting
from treadle.platform.remote import connect
from treadle.platform.wiring import Embedded
from treadle.ports.tree import fetch_tree, put_files, read_tree

CODE = """
    import pandas as pd
    @treadle.step
    def table(rows): return pd.read_csv(rows)
    @treadle.step
    def size(table): return len(table)
"""


@pytest.fixture
def home(
    open_home: Callable[..., Embedded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Embedded:
    monkeypatch.setattr("treadle.data.reads.FRESH_SECONDS", 0.0)
    return open_home(executor=f"subprocess://{tmp_path / 'executor'}", manual_clock=True)


def project(home: Embedded, folder: Path, *, sensitive: bool = True) -> str:
    """A project with one dataset of two files. Returns the digest of its version."""
    write(folder, CODE)
    rows = {name: replace(one, sensitive=sensitive) for name, one in labelled().items()}
    declare(home, folder, data=rows)
    file = folder / "rows.csv"
    file.write_text("a,y\n1,0\n2,1\n")
    return home.data.snapshot(project="p")[0].digest


def reads(home: Embedded) -> list[tuple[str, SensitiveDataRead]]:
    told = home.events.history(type="SensitiveDataRead", limit=1_000)
    return [(record.actor, event) for record in told if (event := record.event())]  # type: ignore[misc]


def as_(home: Embedded, url: str, name: str, user: str = "") -> httpx.Client:
    secret = home.access.create_token(name=name, user=user or name, role="viewer").secret
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=30, trust_env=False
    )


def test_a_read_is_one_event_with_its_reader_its_token_and_the_version(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    version = project(home, tmp_path / "p")
    (file,) = read_tree(home.blobs, version).files.values()
    with as_(home, url, "laptop", "ada") as ada, as_(home, url, "ci") as ci:
        for _ in range(5):
            assert ada.get(f"/api/blobs/{version}").status_code == 200
            assert ada.get(f"/api/blobs/{file.digest}").status_code == 200
            assert ada.get(f"/api/blobs/{file.digest}?tree={version}").status_code == 200
        assert ada.get(f"/api/blobs/{file.digest}/exists").json() is True
        assert ci.get(f"/api/blobs/{file.digest}").status_code == 200
    expected = SensitiveDataRead(
        project="p",
        dataset="rows",
        digest=version,
        what=f"version {version[:12]}",
        way="blob",
        token="laptop",
    )
    assert reads(home) == [("ada", expected), ("ci", replace(expected, token="ci"))]
    (first, _) = home.events.history(subject="sensitive-data:p/rows", project="p")
    assert first.at == home.clock.now()


def test_reads_are_told_again_after_a_while(home: Embedded, url: str, tmp_path: Path) -> None:
    version = project(home, tmp_path / "p")
    with as_(home, url, "laptop") as ada:
        for minutes in (0, 0, WINDOW.total_seconds() / 60 - 1, 1, 1):
            home.clock.advance(timedelta(minutes=minutes))  # type: ignore[attr-defined]
            ada.get(f"/api/blobs/{version}")
    assert len(reads(home)) == 2


def test_a_fetched_dataset_is_one_event_and_a_refused_read_is_none(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    version = project(home, tmp_path / "p")
    many = put_files(home.blobs, {f"{n}.csv": _file(tmp_path, n) for n in range(20)})
    home.data.add(project="p", name="rows", digest=many)
    secret = home.access.create_token(name="laptop", role="viewer", project="p").secret
    stranger = home.access.create_token(name="stranger", role="viewer", project="other").secret
    with connect(url, token=secret) as remote:
        fetch_tree(remote.blobs, many, tmp_path / "copy")
    assert [(actor, event.digest) for actor, event in reads(home)] == [("laptop", many)]
    refused = httpx.get(
        f"{url}/api/blobs/{version}", headers={"Authorization": f"Bearer {stranger}"}
    )
    assert refused.status_code == 404
    assert len(reads(home)) == 1


def _file(folder: Path, number: int) -> Path:
    file = folder / f"{number}.csv"
    file.write_text(f"a,y\n{number},1\n")
    return file


def test_an_artifact_with_the_content_of_a_dataset_is_told(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    version = project(home, tmp_path / "p")
    (file,) = read_tree(home.blobs, version).files.values()
    run = home.tracking.start_run(experiment="e")
    for path, digest in (("copy.csv", file.digest), ("other.txt", home.blobs.put(b"x"))):
        home.tracking.put_artifact(root=run.artifact_root, path=path, digest=digest, bytes=1)
    at = f"{url}/api/2.0/mlflow-artifacts/artifacts/{run.artifact_root}"
    assert httpx.get(f"{at}/other.txt").status_code == 200
    assert reads(home) == []
    assert httpx.get(f"{at}/copy.csv").content == home.blobs.get(file.digest)
    ((actor, event),) = reads(home)
    assert (actor, event.way, event.digest) == ("anonymous", "artifact", version)


def test_what_is_not_declared_as_sensitive_is_told_from_its_declaration_on(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    version = project(home, tmp_path / "p", sensitive=False)
    assert httpx.get(f"{url}/api/blobs/{version}").status_code == 200
    assert reads(home) == []
    project(home, tmp_path / "p")
    httpx.get(f"{url}/api/blobs/{version}")
    assert len(reads(home)) == 1
    project(home, tmp_path / "p", sensitive=False)
    home.clock.advance(2 * WINDOW)  # type: ignore[attr-defined]
    httpx.get(f"{url}/api/blobs/{version}")
    assert len(reads(home)) == 1


def test_a_job_that_reads_is_told_as_the_job_and_its_tables_are_sensitive(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    version = project(home, tmp_path / "p")
    with acting("mara"):
        pipeline = settled(home, start(home, tmp_path / "p", {"rows": version}))
    assert pipeline.state == "succeeded", pipeline.error
    made = pipeline.step("table")
    size = pipeline.step("size")
    assert made
    assert size
    said = [(actor, event.way, event.job, event.digest) for actor, event in reads(home)]
    assert said == [
        ("mara", "job", made.job, version),
        ("mara", "job", size.job, made.output),
    ]
    assert httpx.get(f"{url}/api/blobs/{made.output}").status_code == 200
    assert httpx.get(f"{url}/api/blobs/{size.output}").status_code == 200
    (*_, (actor, event)) = reads(home)
    assert (actor, event.job, len(reads(home))) == ("anonymous", "", 3)
    assert event.what == f"table of pipeline '{pipeline.id}' (step 'table')"


def test_a_day_of_the_inference_log_is_told_where_the_model_learns_from_sensitive_rows(
    home: Embedded, url: str, tmp_path: Path
) -> None:
    from tests.http.test_contents import ABSENT
    from treadle.delivery.tables import endpoints
    from treadle.monitoring.tables import log_files

    project(home, tmp_path / "p")
    day = home.blobs.put(b"PAR1 the rows of a day")
    rows: dict[str, Any] = {"name": "live", "project": "p"}
    with home.database.write() as transaction:
        transaction.execute(endpoints.insert().values(**_filled(endpoints, rows)))
        kept = {"endpoint": "live", "day": "2026-01-01", "digest": day, "rows": 1, "bytes": 1}
        transaction.execute(log_files.insert().values(**kept))
    home.tracking.start_run(experiment="e")  # an event: the log has grown
    assert httpx.get(f"{url}/api/blobs/{day}").status_code == 200
    assert httpx.get(f"{url}/api/blobs/{ABSENT}").status_code == 404
    ((_, event),) = reads(home)
    assert event.what == "day 2026-01-01 of the inference log of endpoint 'live'"


def _filled(table: Any, given: dict[str, Any]) -> dict[str, Any]:
    """A row with something in each column that needs a value."""
    from treadle.kernel.clock import EPOCH

    kinds = {"INTEGER": 1, "BIGINT": EPOCH, "FLOAT": 1.0, "BOOLEAN": False}
    needed = {c.name: kinds.get(str(c.type), "{}") for c in table.c if not c.nullable}
    return {**needed, **given}


def test_nothing_is_given_out_where_the_read_cannot_be_told(
    home: Embedded, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from treadle.kernel.errors import Unavailable

    version = project(home, tmp_path / "p")

    def full(*_: object) -> int:
        raise Unavailable("The disk is full.")

    monkeypatch.setattr(home.events, "append", full)
    assert httpx.get(f"{url}/api/blobs/{version}").status_code == 503
