"""Answered requests whose labels have come become rows that the next model learns from."""

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.project import declare, settle, write
from treadle.data.model import Label
from treadle.data.splits import held_out
from treadle.kernel.clock import ManualClock, to_micros
from treadle.kernel.errors import Invalid
from treadle.kernel.event import acting
from treadle.monitoring.model import DriftFound
from treadle.platform.wiring import Embedded
from treadle.ports.runtime import Field, Layout
from treadle.ports.tree import read_files
from treadle.scope.model import DataSource
from treadle.scope.policies import RolloutPolicy
from treadle.scope.retraining import RetrainPolicy
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.rows import Rows

START = datetime.fromisoformat("2024-03-04T08:00:00+00:00")
PIPELINE = """
    from pathlib import Path
    import pandas as pd
    from sklearn.linear_model import LogisticRegression

    @treadle.step
    def table(rows: Path) -> pd.DataFrame:
        table = pd.read_csv(rows, dtype={"id": str})
        return table.assign(left=(table["left"] == "yes").astype(int))

    @treadle.step
    def holdout(table: pd.DataFrame) -> pd.DataFrame: return table[treadle.held_out(table, "id")]

    @treadle.step
    def model(table: pd.DataFrame) -> treadle.Model:
        train = table[~treadle.held_out(table, "id")]
        inputs = train[["size", "price"]]
        return treadle.Model(LogisticRegression().fit(inputs, train["left"]), inputs)
"""
ROWS = "id,size,price,left,note\n" + "".join(
    f"c{n},{n},{n / 4},{'yes' if n % 3 else 'no'},n{n}\n" for n in range(600)
)


class Shop:
    """A project with a champion that answers requests, whose truth is told later."""

    def __init__(self, platform: Embedded, folder: Path, **source: Any) -> None:
        self.platform, self.folder = platform, write(folder, PIPELINE, rows__csv=ROWS)
        assert isinstance(platform.clock, ManualClock)
        self.clock = platform.clock
        self.clock.set(START)
        self.source = {"learn_from": "source and answers", "positive": "yes", **source}
        self.declare()
        platform.training.start(project="p")
        self.turn()

    def declare(self, **policy: Any) -> None:
        data = {"rows": DataSource(source="rows.csv", label="left", id="id", **self.source)}
        declare(
            self.platform,
            self.folder,
            data=data,
            requirement=[],
            rollout=RolloutPolicy(steps=["100%"]),
            retrain=RetrainPolicy(when=["drift"], cooldown="0s", **policy),
        )

    def turn(self) -> None:
        settle(self.platform)

    def answers(self, *ids: str, at: datetime | None = None, **facts: Any) -> None:
        """What the champion's server logs of these requests."""
        fields = [Field(name="size", kind="number"), Field(name="price", kind="number")]
        numbers = np.array([[7.0, 59.99]] * len(ids), dtype=np.float32)
        batch = LogBatch.of(
            ids=list(ids),
            counts=[1] * len(ids),
            micros=[5] * len(ids),
            at=to_micros(at or self.clock.now()),
            version="p:1",
            role=facts.get("role", "champion"),
            generation=1,
            layout=Layout(fields),
            rows=Rows(numbers, np.empty((len(ids), 0), dtype=object)),
            outputs=np.full(len(ids), 0.5, dtype=np.float32),
            errors=facts.get("errors", {}),
        )
        writer = LogWriter(Path(self.platform.settings.home, "endpoints", "p", "log"))
        writer.append(batch)
        writer.close()

    def labels(self, **values: float | str) -> None:
        given = [Label(request=request, value=value) for request, value in values.items()]
        self.platform.data.add_labels(project="p", labels=given)

    def trained(self) -> tuple[str, list[dict[str, str]]]:
        """A training is started; the digest and the rows of what it learns from."""
        run = self.platform.training.start(project="p").run
        pipeline = self.platform.pipelines.get(
            pipeline=self.platform.training.get(run=run).pipeline
        )
        digest = pipeline.datasets["rows"]
        (content,) = read_files(self.platform.blobs, digest).values()
        return digest, list(csv.DictReader(content.decode().splitlines()))

    def drifts(self) -> tuple[str, str]:
        """Drift is found; what the loop decides, and why."""
        event = DriftFound(
            endpoint="p",
            project="p",
            version="p:1",
            start=self.clock.now(),
            columns=["size"],
            strongest="size",
            psi=0.4,
        )
        with self.platform.database.write() as transaction, acting():
            number = self.platform.events.append(transaction, event)
        self.platform.loop.react()
        decided = next(one for one in self.platform.loop.decisions() if one.event == number)
        return decided.outcome, decided.reason


@pytest.fixture
def shop(open_home: Callable[..., Embedded], tmp_path: Path) -> Shop:
    return Shop(open_home(target="memory:", manual_clock=True), tmp_path / "p")


def test_the_wheel_has_a_champion(shop: Shop) -> None:
    assert shop.platform.delivery.endpoint(name="p").champion == 1


def test_a_labelled_answer_is_a_row_in_the_sources_own_words(shop: Shop) -> None:
    shop.answers("r1", "r2", "r3")
    shop.labels(r1=1.0, r3=0.0)
    _, rows = shop.trained()
    assert len(rows) == 602
    assert [row["id"] for row in rows[:600]] == [f"c{n}" for n in range(600)]
    assert rows[600:] == [
        {"id": "r1", "size": "7", "price": "59.99", "left": "yes", "note": ""},
        {"id": "r3", "size": "7", "price": "59.99", "left": "no", "note": ""},
    ]


def test_the_same_rows_are_the_same_version_and_no_row_comes_twice(shop: Shop) -> None:
    shop.answers("r1")
    shop.labels(r1=1.0)
    first, _ = shop.trained()
    shop.labels(r1=1.0)  # told again
    shop.answers("r1")  # asked again by a caller that did not hear the answer
    assert shop.trained()[0] == first


def test_a_corrected_label_replaces_the_row(shop: Shop) -> None:
    shop.answers("r1")
    shop.labels(r1=1.0)
    shop.trained()
    shop.labels(r1=0.0)
    _, rows = shop.trained()
    assert [row["left"] for row in rows[600:]] == ["no"]


def test_a_request_that_the_source_has_by_now_is_not_added(shop: Shop) -> None:
    shop.answers("r1", "r2")
    shop.labels(r1=1.0, r2=1.0)
    (shop.folder / "rows.csv").write_text(ROWS + "r1,9,9,yes,known\n")
    _, rows = shop.trained()
    assert [(row["id"], row["note"]) for row in rows[600:]] == [("r1", "known"), ("r2", "")]


def test_labels_of_rows_that_the_source_has_can_come_again_and_again(shop: Shop) -> None:
    source, _ = shop.trained()
    for request in ("c1", "c2", "c3"):
        shop.answers(request)
        shop.labels(**{request: 1.0})
        assert shop.trained()[0] == source
    assert not shop.platform.events.history(type="DatasetGrown", project="p")
    assert shop.platform.training.new_rows(project="p").labels == 0


def test_failures_and_shadows_are_no_rows(shop: Shop) -> None:
    shop.answers("r1", errors={0: "broken"})
    shop.answers("r2", role="shadow")
    shop.labels(r1=1.0, r2=1.0)
    assert len(shop.trained()[1]) == 600
    assert shop.platform.training.new_rows(project="p").unmatched == 2


def test_a_label_that_names_no_request_is_told_and_tried_again(shop: Shop) -> None:
    shop.labels(typo=1.0, late=1.0)
    assert len(shop.trained()[1]) == 600
    found = shop.platform.training.new_rows(project="p")
    assert (found.unmatched, found.examples) == (2, ["typo", "late"])
    shop.clock.advance(timedelta(hours=1))
    shop.answers("late", "other")
    shop.labels(other=1.0)
    assert [row["id"] for row in shop.trained()[1][600:]] == ["late", "other"]
    assert shop.platform.training.new_rows(project="p").examples == ["typo"]


def test_requests_of_many_days_are_found(shop: Shop) -> None:
    for day in range(1, 6):
        shop.clock.advance(timedelta(days=1))
        shop.answers(f"d{day}")
    shop.labels(d1=1.0, d5=0.0)
    assert [row["id"] for row in shop.trained()[1][600:]] == ["d1", "d5"]


def test_the_newest_rows_are_kept(open_home: Callable[..., Embedded], tmp_path: Path) -> None:
    shop = Shop(open_home(target="memory:", manual_clock=True), tmp_path / "p", keep="500 rows")
    assert [row["id"] for row in shop.trained()[1]] == [f"c{n}" for n in range(100, 600)]
    shop.answers("r1", "r2")
    shop.labels(r1=1.0, r2=0.0)
    ids = [row["id"] for row in shop.trained()[1]]
    assert ids == [*(f"c{n}" for n in range(102, 600)), "r1", "r2"]


def test_rows_of_the_last_days_are_kept_in_the_order_of_their_time(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    platform = open_home(target="memory:", manual_clock=True)
    shop = Shop(platform, tmp_path / "p")
    lines = [
        f"c{n},{n},1,{'yes' if n % 2 else 'no'},2024-0{1 + n % 3}-02 10:00:00" for n in range(60)
    ]
    (shop.folder / "rows.csv").write_text("id,size,price,left,asked\n" + "\n".join(lines) + "\n")
    shop.source |= {"time": "asked", "keep": "30d"}
    shop.declare()
    shop.answers("r1")
    shop.labels(r1=1.0)
    rows = shop.trained()[1]
    assert {row["asked"][:7] for row in rows} == {"2024-03"}
    assert rows[-1]["id"] == "r1"
    assert rows[-1]["asked"] == "2024-03-04 08:00:00"


def test_a_declared_share_is_taken_and_the_same_requests_each_time(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    shop = Shop(open_home(target="memory:", manual_clock=True), tmp_path / "p", share="30%")
    ids = [f"r{n}" for n in range(400)]
    shop.answers(*ids)
    shop.labels(**dict.fromkeys(ids, 1.0))
    first, rows = shop.trained()
    assert 80 <= len(rows) - 600 <= 160
    assert shop.trained()[0] == first


def test_drift_trains_only_when_there_is_something_to_learn_from(shop: Shop) -> None:
    shop.declare(min_new_labels=3)
    jobs = len(shop.platform.jobs.find(limit=1000))
    outcome, reason = shop.drifts()
    assert outcome == "nothing to do"
    assert reason == (
        "nothing new to learn from: no source has changed, and 0 of 3 labelled answers have come"
    )
    shop.answers("r1", "r2", "r3")
    shop.labels(r1=1.0, r2=0.0)
    assert shop.drifts()[1].endswith("2 of 3 labelled answers have come")
    assert len(shop.platform.jobs.find(limit=1000)) == jobs
    assert shop.platform.loop.status(project="p").new_rows.labels == 2  # type: ignore[union-attr]
    shop.labels(r3=1.0)
    assert shop.drifts()[0] == "acted"
    shop.turn()
    assert shop.platform.delivery.endpoint(name="p").champion == 2
    assert shop.drifts()[1].endswith("0 of 3 labelled answers have come")


def test_where_answers_are_not_learnt_from_the_loop_waits_for_the_source(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    home = open_home(target="memory:", manual_clock=True)
    shop = Shop(home, tmp_path / "p", learn_from="source")
    assert "answers are not learnt from" in shop.drifts()[1]
    (shop.folder / "rows.csv").write_text(ROWS + "new,1,1,yes,\n")
    assert shop.drifts()[0] == "acted"


def test_why_leads_from_the_version_to_the_answers_it_learnt_from(shop: Shop) -> None:
    shop.answers("r1")
    shop.labels(r1=1.0)
    digest, _ = shop.trained()
    (collected,) = shop.platform.events.history(type="RowsCollected")
    (grown,) = shop.platform.events.history(type="DatasetGrown")
    assert (collected.body["rows"], grown.body["answers"]) == (1, 1)
    assert grown.body["portions"] == [collected.body["digest"]]
    assert grown.body["digest"] == digest
    assert grown.body["first"] == "2024-03-04T08:00:00Z"


def test_words_need_to_be_told_which_of_them_is_one(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    shop = Shop(open_home(target="memory:", manual_clock=True), tmp_path / "p", positive=None)
    shop.answers("r1")
    shop.labels(r1=1.0)
    with pytest.raises(Invalid, match=r"holds 'no' and 'yes'.*positive = \"yes\""):
        shop.platform.training.start(project="p")


def test_labels_in_words_are_rows_without_being_told_what_one_means(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    shop = Shop(open_home(target="memory:", manual_clock=True), tmp_path / "p", positive=None)
    shop.answers("r1", "r2", "r3")
    shop.labels(r1="yes", r2="no", r3="perhaps")
    _, rows = shop.trained()
    assert [(row["id"], row["left"]) for row in rows[600:]] == [
        ("r1", "yes"),
        ("r2", "no"),
        ("r3", ""),
    ]


def test_a_class_that_production_has_shown_first_is_learnt_where_it_is_declared(
    open_home: Callable[..., Embedded], tmp_path: Path
) -> None:
    home = open_home(target="memory:", manual_clock=True)
    shop = Shop(home, tmp_path / "p", positive=None, new_classes=["perhaps"])
    assert home.data.classes(project="p") == ["no", "yes", "perhaps"]  # as they are declared
    shop.answers("r1", "r2")
    shop.labels(r1="perhaps", r2="prehaps")
    _, rows = shop.trained()
    assert [row["left"] for row in rows[600:]] == ["perhaps", ""]


def test_answers_whose_inputs_are_no_columns_are_refused(shop: Shop) -> None:
    text = ROWS.replace("size", "size_cm").replace("price", "price_eur")
    (shop.folder / "rows.csv").write_text(text)
    shop.answers("r1")
    shop.labels(r1=1.0)
    with pytest.raises(Invalid, match=r"No input of the model .* is a column of 'rows.csv'"):
        shop.platform.training.start(project="p")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6), unique=True, min_size=1
    ),
    st.data(),
)
def test_what_is_held_out_stays_so_whatever_comes_or_goes(names: list[str], data: Any) -> None:
    table = pd.DataFrame({"id": names, "x": range(len(names))})
    before = dict(zip(names, held_out(table, "id"), strict=True))
    kept = table.sample(frac=1, random_state=data.draw(st.integers(0, 99))).iloc[: len(names) // 2]
    more = pd.concat([pd.DataFrame({"id": ["\x00new"], "x": [0.5]}), kept])
    after = dict(zip(more["id"], held_out(more, "id"), strict=True))
    assert all(before[name] == after[name] for name in kept["id"])


def test_the_held_out_share_is_as_asked_and_equal_rows_are_on_one_side() -> None:
    table = pd.DataFrame({"a": [1, 2, 3, None] * 5000, "b": ["x", None, "y", "z"] * 5000})
    table["c"] = np.arange(20_000) // 2
    held = held_out(table, "c", share=0.2)
    assert abs(held.mean() - 0.2) < 0.02
    assert (held[::2] == held[1::2]).all()
    whole = held_out(table)
    again = held_out(table.astype({"c": float}))
    assert (whole == again).all()
    with pytest.raises(Invalid, match="Did you mean 'b'"):
        held_out(table, "bb")
