"""Label sets: read and written, brought to a schema, measured, settled, priced."""

import csv
import math
from pathlib import Path

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from treadle.data.labelling.agreement import measure_agreement
from treadle.data.labelling.consensus import find_consensus, most_ambiguous
from treadle.data.labelling.effort import estimate_effort
from treadle.data.labelling.schema import LabelSchema, mapping, standardise
from treadle.data.labelling.sets import (
    Columns,
    LabelRow,
    in_order,
    label_set,
    read_label_set,
    read_rows,
    write_csv,
    write_rows,
)
from treadle.kernel.errors import Invalid, NotFound

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8)
label_rows = st.lists(
    st.builds(
        LabelRow,
        texts,
        texts,
        texts,
        st.sampled_from(["", "2026-01-01T10:00:00Z", "2026-01-01T12:00:00.5+02:00"]),
        st.one_of(st.none(), st.floats(0, 1e6)),
    ),
    min_size=1,
    max_size=6,
)
SMALL = [
    LabelRow("a", "anna", "cat"),
    LabelRow("a", "ben", "cat"),
    LabelRow("a", "carla", "dog"),
    LabelRow("b", "anna", "dog"),
    LabelRow("b", "ben", "dog"),
    LabelRow("b", "carla", "dog"),
]


@given(label_rows)
@example([LabelRow("a", "b", "c", seconds=0.0)])
@example([LabelRow("a;b", "c,d", 'e"f'), LabelRow("'g'", "\n", " h ")])
@example([LabelRow("'", "0", "'")])
@example([LabelRow("'", "0", "0"), LabelRow("'", "0", "0")])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_again(tmp_path: Path, rows: list[LabelRow]) -> None:
    write_rows(tmp_path / "set.csv", rows)
    assert read_rows(tmp_path / "set.csv") == rows


def test_parquet_is_read_with_its_own_names_and_types(tmp_path: Path) -> None:
    file = tmp_path / "set.parquet"
    relation = duckdb.sql(
        "SELECT 7 AS photo, 'anna' AS who, 3 AS stars, TIMESTAMPTZ '2026-01-01 10:00:00+00' AS at, "
        "2.5 AS seconds"
    )
    assert relation is not None
    relation.write_parquet(str(file))
    (row,) = read_rows(file, Columns("photo", "who", "stars"))
    assert row[:3] == ("7", "anna", "3")
    assert (row.at[:10], row.seconds) == ("2026-01-01", 2.5)


def test_the_latest_label_of_a_labeller_counts_and_the_others_are_told() -> None:
    early, late = "2026-01-01T10:00:00+02:00", "2026-01-01T09:00:00Z"
    labels = label_set(
        [
            LabelRow("a", "anna", "dog", late),
            LabelRow("a", "anna", "cat", early),
            LabelRow("a", "ben", "cat"),
            LabelRow("a", "ben", "dog"),
            LabelRow("a", "carla", ""),
        ]
    )
    assert [labels.classes[label] for label in labels.votes.label] == ["dog", "dog"]
    assert (labels.replaced, labels.missing) == (2, 1)


def test_classes_are_in_the_order_of_numbers_or_of_names_or_as_declared() -> None:
    assert in_order(["10", "9", "-1.5"]) == ["-1.5", "9", "10"]
    assert in_order(["10", "9", "nan"]) == ["10", "9", "nan"]
    assert label_set(SMALL, ["dog", "cat", "bird"]).classes == ["dog", "cat", "bird"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("item,labeller,lable\na,b,c\n", "no column 'label' in '{file}'. Did you mean 'lable'?"),
        ("item,who,label\na,b,c\n", "Name the column with --labeller."),
        ("item,labeller,label\na,,c\n", "Row 1 has nothing in column 'labeller'. Fill it in"),
        ("item,labeller,label,at\na,b,c,soon\n", "Row 1: 'soon' in column 'at' is no time."),
        ("item,labeller,label,seconds\na,b,c,-1\n", "'-1' in column 'seconds' is no duration."),
        ("item,labeller,label\na,b,\n", "No row has a label."),
    ],
)
def test_what_is_wrong_with_a_set_is_said(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "set.csv"
    file.write_text(content)
    with pytest.raises(Invalid) as refused:
        read_label_set(file)
    assert message.format(file=file) in refused.value.message


def test_a_file_that_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        read_label_set(tmp_path / "none.csv")
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(Invalid, match="cannot be read as CSV or Parquet"):
        read_label_set(tmp_path / "no.parquet")
    with pytest.raises(Invalid, match=r"Name one that ends in \.csv"):
        write_rows(tmp_path / "out.txt", SMALL)
    with pytest.raises(Invalid, match=r"no folder .*Make it first"):
        write_rows(tmp_path / "none" / "out.csv", SMALL)


def test_a_label_that_is_none_of_the_classes_is_refused_with_the_near_miss() -> None:
    with pytest.raises(Invalid, match=r"'cat', the label of item 'a' by 'anna'.*'cats'\?"):
        label_set(SMALL, ["cats", "dog"])


def test_labels_that_are_no_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.data.labelling.sets.MOST_CELLS", 3)
    with pytest.raises(Invalid, match="2 different labels of 2 items are too many to count"):
        label_set(SMALL)


def test_a_schema_renames_merges_and_counts_who_was_uncertain() -> None:
    rows = [
        *SMALL,
        LabelRow("c", "anna", "kitten"),
        LabelRow("c", "ben", "?"),
        LabelRow("c", "carla", "dunno"),
        LabelRow("d", "anna", ""),
    ]
    schema = LabelSchema(
        classes=("cat", "dog", "bird"),
        uncertain="?",
        renamed=mapping(["kitten=cat", "dunno=?", "puppy=dog"]),
    )
    kept, done = standardise(rows, schema)
    assert [row.label for row in kept] == ["cat", "cat", "dog", "dog", "dog", "dog", "cat"]
    assert (done.labels, done.uncertain, done.missing) == (7, 2, 1)
    assert done.renamed == {"kitten": 1, "dunno": 1, "puppy": 0}
    assert done.classes == {"cat": 3, "dog": 4, "bird": 0}
    again, nothing = standardise(kept, schema)
    assert again == kept
    assert nothing.uncertain == 0


@given(st.lists(st.sampled_from("abc"), min_size=1), st.dictionaries(st.just("a"), st.just("b")))
def test_no_label_is_lost_by_a_schema(labels: list[str], renamed: dict[str, str]) -> None:
    rows = [LabelRow(str(place), "anna", label) for place, label in enumerate(labels)]
    kept, done = standardise(rows, LabelSchema(uncertain="c", renamed=renamed))
    assert done.labels + done.uncertain == len(rows)
    assert sum(done.classes.values()) == len(kept)
    assert not {row.label for row in kept} & {"c", *renamed}


def test_a_schema_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(Invalid, match=r"'a' is mapped to 'b', which is mapped to 'c'"):
        LabelSchema(renamed={"a": "b", "b": "c"})
    with pytest.raises(Invalid, match=r"none of the classes\. Did you mean 'cat'\?"):
        LabelSchema(classes=("cat",), renamed={"a": "cta"})
    with pytest.raises(Invalid, match="as a class and as uncertain"):
        LabelSchema(classes=("cat", "?"), uncertain="?")
    with pytest.raises(Invalid, match=r"'ab' maps no name\. Write OLD=NEW\."):
        mapping(["ab"])
    with pytest.raises(Invalid, match="'a' is mapped to 'b' and to 'c'"):
        mapping(["a=b", "a=c"])
    with pytest.raises(Invalid, match=r"'x', the label of item 'i' by 'anna', is none"):
        standardise([LabelRow("i", "anna", "x")], LabelSchema(classes=("cat",)))


def test_agreement_tells_of_classes_labellers_and_pairs() -> None:
    measured = measure_agreement(label_set(SMALL), by_pair=True)
    assert (measured.items, measured.labellers, measured.labels) == (2, 3, 6)
    assert measured.agreement == pytest.approx(4 / 6)
    assert measured.fleiss_kappa == pytest.approx(0.25)
    assert [one.agreement for one in measured.by_class] == pytest.approx([0.5, 0.75])
    carla = measured.by_labeller[2]
    assert (carla.labeller, carla.compared, carla.agreement.value) == ("carla", 2, 0.5)
    assert [(pair.first, pair.second, pair.kappa) for pair in measured.by_pair] == [
        ("anna", "ben", 1.0),
        ("anna", "carla", 0.0),
        ("ben", "carla", 0.0),
    ]
    assert measure_agreement(label_set(SMALL[:5])).fleiss_kappa is None
    assert measure_agreement(label_set(SMALL)).by_pair == []


def test_levels_of_numbers_need_numbers() -> None:
    with pytest.raises(Invalid, match=r"needs numbers; label 'cat' is none\. Use 'ordinal'\."):
        measure_agreement(label_set(SMALL), level="interval")
    stars = [row._replace(label={"cat": "1", "dog": "10"}[row.label]) for row in SMALL]
    measured = measure_agreement(label_set(stars), level="interval")
    assert measured.krippendorff_alpha == pytest.approx(
        measure_agreement(label_set(SMALL)).krippendorff_alpha  # two classes have one distance
    )


def test_a_consensus_tells_its_ties() -> None:
    rows = [*SMALL, LabelRow("c", "anna", "dog"), LabelRow("c", "ben", "cat")]
    found = find_consensus(label_set(rows))
    assert [(one.item, one.label, one.tied) for one in found.items] == [
        ("a", "cat", False),
        ("b", "dog", False),
        ("c", "cat", True),
    ]
    assert found.ties == 1
    assert found.items[0].confidence == pytest.approx(2 / 3)
    with pytest.raises(Invalid, match=r"no method 'majorty'\. Did you mean 'majority'\?"):
        find_consensus(label_set(rows), "majorty")  # type: ignore[arg-type]


def test_dawid_and_skene_tell_who_is_good() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 2, 200)
    rows = [
        LabelRow(str(item), who, "cd"[int(true ^ (random.random() < wrong))])
        for item, true in enumerate(truth)
        for who, wrong in (("anna", 0.05), ("ben", 0.1), ("carla", 0.4))
    ]
    found = find_consensus(label_set(rows), "dawid-skene")
    accuracy = {one.labeller: one.accuracy for one in found.labellers}
    assert found.converged
    assert accuracy["anna"] > accuracy["ben"] > accuracy["carla"]
    assert accuracy["carla"] == pytest.approx(0.6, abs=0.1)
    assert all(
        sum(row.values()) == pytest.approx(1)
        for one in found.labellers
        for row in one.confusion.values()
    )


def test_what_labellers_disagree_on_most_comes_first() -> None:
    rows = [LabelRow(str(item), who, "cat") for item in range(20) for who in ("anna", "ben")]
    rows += [LabelRow(str(item), who, "dog") for item in range(20, 40) for who in ("anna", "ben")]
    rows += [LabelRow("split", "anna", "cat"), LabelRow("split", "ben", "dog")]
    (first,) = most_ambiguous(label_set(rows))
    assert (first.item, first.labels) == ("split", {"cat": 1, "dog": 1})
    assert first.entropy == pytest.approx(1, abs=0.01)
    assert most_ambiguous(label_set(rows[:40])) == []


def test_the_effort_of_labels_is_their_mean_time_with_an_interval() -> None:
    random = np.random.default_rng(1)
    rows = [
        LabelRow(str(i), "anna", "x", "", float(t)) for i, t in enumerate(random.gamma(2, 5, 400))
    ]
    estimated = estimate_effort([*rows, LabelRow("z", "anna", "x")], 1000, rate=30)
    hours, cost = estimated.hours, estimated.cost
    assert hours.low is not None and hours.value is not None and hours.high is not None
    assert cost is not None and cost.value is not None
    assert estimated.timed == 400
    assert hours.value == pytest.approx(1000 * estimated.mean_seconds / 3600)
    assert hours.low < hours.value < hours.high
    assert hours.high - hours.low == pytest.approx(
        2 * 1.96 * np.sqrt(1000 * 50 + 1000**2 * 50 / 400) / 3600, rel=0.25
    )
    assert cost.value == pytest.approx(30 * hours.value)
    assert estimate_effort(rows, 1000, rate=30) == estimated


def test_very_many_labels_are_estimated_as_well() -> None:
    rows = [LabelRow(str(i), "anna", "x", "", float(1 + i % 3)) for i in range(90)]
    hours = estimate_effort(rows, 10_000_000).hours
    assert hours.low is not None and hours.high is not None
    assert hours.low < 10_000_000 * 2 / 3600 < hours.high


def test_an_effort_that_cannot_be_estimated_says_what_is_missing() -> None:
    with pytest.raises(Invalid, match="Give the set a column 'seconds'"):
        estimate_effort(SMALL, 10)
    with pytest.raises(Invalid, match="Ask for 1 or more"):
        estimate_effort(SMALL, 0)
    with pytest.raises(Invalid, match="no price"):
        estimate_effort(SMALL, 1, math.inf)


def test_truth_values_in_csv_are_those_of_json(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["x", "y"], [(True, None), (False, 1)])
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["x", "y"], ["true", ""], ["false", "1"]]
