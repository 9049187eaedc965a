"""Traces and logged models are searched without reading what cannot be found."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from treadle.kernel.errors import Invalid
from treadle.platform.wiring import Embedded
from treadle.tracking import logged_models, traces
from treadle.tracking.trace_contents import Span
from treadle.tracking.traces import Traces

COUNT = 12


@pytest.fixture
def home(open_home: Callable[..., Embedded]) -> Embedded:
    return open_home()


def fill(home: Embedded) -> int:
    """Traces of one experiment: of even numbers the state is OK, and each names its step."""
    experiment = home.tracking.create_experiment(name="traced").id
    for number in range(COUNT):
        info: dict[str, Any] = {
            "trace_id": f"tr-{number:02}",
            "request_time": f"2026-01-01T00:00:{number:02}Z",
            "state": "ERROR" if number % 2 else "OK",
        }
        spans: list[tuple[str, Span]] = [
            (info["trace_id"], {"span_id": f"{step}", "name": f"step {COUNT - number} {step}"})
            for step in range(2)
        ]
        home.traces.put(experiment=experiment, info=info)
        home.traces.add_spans(experiment=experiment, spans=spans, begun=_begun, tags={})
    return experiment


def _begun(_id: str, _spans: list[Span]) -> dict[str, Any]:
    raise AssertionError("The trace is there already.")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The traces whose spans each query reads."""
    asked = list[list[str]]()
    before = Traces._spans

    def noting(self: Traces, ids: Sequence[str]) -> dict[str, list[Span]]:
        asked.append(list(ids))
        return before(self, ids)

    monkeypatch.setattr(Traces, "_spans", noting)
    monkeypatch.setattr(traces, "AT_ONCE", 4)
    return asked


def test_spans_are_read_for_many_traces_and_after_other_conditions(
    home: Embedded, read: list[list[str]]
) -> None:
    experiment = fill(home)

    def found(filter: str, limit: int = 100) -> list[str]:
        read.clear()
        some = home.traces.find(experiments=[experiment], filter=filter, limit=limit)
        return [info["trace_id"] for info in some]

    assert found("span.name LIKE 'step 3 %' AND state = 'ERROR'") == ["tr-09"]
    assert read == [["tr-11", "tr-09", "tr-07", "tr-05"], ["tr-03", "tr-01"]]
    assert found("span.name LIKE 'step 3 %' OR state = 'OK'", 1) == ["tr-10"]
    assert read == [["tr-11", "tr-10", "tr-09", "tr-08"]]
    assert found("trace.text LIKE '%step 12 1%'") == ["tr-00"]
    assert len(read) == 3
    assert len(found("state = 'OK'")) == 6
    assert not read


def test_orders_read_no_spans(home: Embedded, read: list[list[str]]) -> None:
    experiment = fill(home)
    found = home.traces.search(experiments=[experiment], orders=["state", "timestamp"])
    assert [info["trace_id"] for info in found][:2] == ["tr-01", "tr-03"]
    for order in ("span.name", "trace.text"):
        with pytest.raises(Invalid, match="can have several"):
            home.traces.search(experiments=[experiment], orders=[order])
    with pytest.raises(Invalid, match="no 'nothing'"):
        home.traces.search(experiments=[experiment], orders=["nothing"])
    assert not read


def test_a_search_by_run_reads_no_model_of_another(
    home: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = home.tracking.create_experiment(name="logged").id
    for number in range(6):
        home.logged_models.create(
            experiment=experiment,
            name=f"m{number}",
            run=f"r{number % 3}",
            type="",
            params={"depth": str(number)},
            tags={"name": "m1"},
        )
    read = list[str]()
    before = logged_models._loaded

    def noting(row: Any) -> Any:
        read.append(row["name"])
        return before(row)

    monkeypatch.setattr(logged_models, "_loaded", noting)

    def found(filter: str) -> list[str]:
        read.clear()
        some = home.logged_models.find(experiments=[experiment], filter=filter)
        return sorted(one.name for one in some)

    assert found("source_run_id = 'r1' AND params.depth = '4'") == ["m4"]
    assert sorted(read) == ["m1", "m4"]
    assert len(found("tags.name = 'm1'")) == 6
    assert found("source_run_id = 'r1' OR name = 'm0'") == ["m0", "m1", "m4"]
    assert len(read) == 6
