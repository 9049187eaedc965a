"""``treadle labels``: every verb prints tables for people and one JSON value for programs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from treadle.cli.main import app
from treadle.kernel.errors import TreadleError

VOTES = """\
item,labeller,label,seconds
a.jpg,anna,cat,4
a.jpg,ben,cat,5
a.jpg,carla,dog,9
b.jpg,anna,dog,3
b.jpg,ben,dog,6
b.jpg,carla,dog,8
c.jpg,anna,cat,4
c.jpg,ben,kitten,7
c.jpg,carla,cannot tell,30
"""


@pytest.fixture
def votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "votes.csv").write_text(VOTES)
    return Path("votes.csv")


def shown(*arguments: object) -> str:
    """What a verb prints for people."""
    ended = CliRunner().invoke(app, ["labels", *map(str, arguments)])
    if ended.exception:
        raise ended.exception
    return ended.output


def answer(*arguments: object) -> Any:
    """The one JSON value that a verb prints."""
    (line,) = shown(*arguments, "--json").splitlines()
    return json.loads(line)


def refused(*arguments: object) -> str:
    with pytest.raises(TreadleError) as error:
        shown(*arguments)
    return error.value.message


def test_labels_are_brought_to_a_schema(votes: Path) -> None:
    mapped = ("standardise", votes, "clean.csv", "--map", "kitten=cat", "--uncertain")
    text = shown(*mapped, "cannot tell")
    assert "Renamed 'kitten' to 'cat': 1" in text
    assert "8 labels written; left out: 1 uncertain, 0 rows without a label." in text
    done = answer(*mapped, "cannot tell", "--class", "dog", "--class", "cat")
    assert done["classes"] == {"dog": 4, "cat": 4}
    assert (done["uncertain"], done["renamed"]) == (1, {"kitten": 1})
    assert "cannot tell" not in Path("clean.csv").read_text()
    assert "'kitten'" in refused("standardise", votes, "x.csv", "--class", "dog", "--class", "cat")
    assert "the file that is read" in refused("standardise", votes, votes)


def test_agreement_is_shown_by_class_by_labeller_and_by_pair(votes: Path) -> None:
    text = shown("agreement", votes, "--by-pair")
    for part in ("9 labels of 3 items by 3 labellers", "Krippendorff's alpha (nominal)", "By pair"):
        assert part in text
    assert "By pair" not in shown("agreement", votes)
    measured = answer("agreement", votes, "--by-pair")
    assert measured["items"] == 3
    assert len(measured["by_pair"]) == 3
    assert measured["fleiss_kappa"] == pytest.approx(1 / 6)
    ordered = ("--class", "cat", "--class", "kitten", "--class", "dog", "--class", "cannot tell")
    assert answer("agreement", votes, "--level", "ordinal", *ordered)["level"] == "ordinal"


def test_a_column_that_is_not_there_is_told_with_the_near_miss(votes: Path) -> None:
    said = "There is no column 'lable' in 'votes.csv'. Did you mean 'label'? "
    said += "Name the column with --label."
    for verb in ("agreement", "consensus", "ambiguous"):
        assert refused(verb, votes, "--label", "lable") == said
    assert refused("effort", votes, "--more", 3, "--label", "lable") == said
    assert refused("export", votes, "o.json", "--format", "coco", "--label", "lable") == said
    assert "There is no file 'none.csv'" in refused("agreement", "none.csv")


def test_a_consensus_is_shown_and_written(votes: Path) -> None:
    text = shown("consensus", votes, "--output", "settled.csv")
    assert "3 items, 1 ties." in text
    assert "Written to 'settled.csv'." in text
    head, first, *_ = Path("settled.csv").read_text().splitlines()
    assert head == "item,label,confidence,labels,tied"
    assert first.startswith("a.jpg,cat,0.66") and first.endswith(",3,false")
    found = answer("consensus", votes, "--method", "dawid-skene")
    assert [one["item"] for one in found["items"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [one["labeller"] for one in found["labellers"]] == ["anna", "ben", "carla"]
    assert "accuracy" in shown("consensus", votes, "--method", "dawid-skene")
    assert "the file that is read" in refused("consensus", votes, "--output", votes)


def test_items_that_are_disagreed_on_are_listed(votes: Path) -> None:
    listed = answer("ambiguous", votes)
    assert {one["item"] for one in listed} == {"a.jpg", "c.jpg"}
    assert len(answer("ambiguous", votes, "--limit", 1)) == 1
    assert "cat 2, dog 1" in shown("ambiguous", votes)
    Path("agreed.csv").write_text("".join(f"{line}\n" for line in VOTES.splitlines()[:3]))
    assert "agree on every item" in shown("ambiguous", "agreed.csv")


def test_effort_has_a_time_a_price_and_limits(votes: Path) -> None:
    text = shown("effort", votes, "--more", 1000, "--rate", 20)
    assert "1,000 more labels take 2 h 21 min (95 %: " in text
    assert "At 20 an hour they cost 46.91 (" in text
    estimated = answer("effort", votes, "--more", 1000)
    assert estimated["cost"] is None
    assert estimated["hours"]["low"] < estimated["hours"]["value"] < estimated["hours"]["high"]


@pytest.mark.parametrize("format", ["label-studio", "coco"])
def test_a_set_goes_to_a_tool_and_comes_back(votes: Path, format: str) -> None:
    told = answer("export", votes, "out.json", "--format", format)
    assert told == {"file": "out.json", "format": format, "labels": 9}
    assert answer("import", "out.json", "back.csv") == {
        "format": format,
        "labels": 9,
        "left_out": {},
    }
    assert answer("agreement", "back.csv") == answer("agreement", votes)
    assert "Wrote 9 labels to 'out.json'." in shown("export", votes, "out.json", "--format", format)
    assert f"Took 9 labels from {format}." in shown("import", "out.json", "back.csv")


def test_what_an_import_leaves_out_is_shown(votes: Path) -> None:
    Path("tasks.json").write_text('[{"id": 1, "data": {}, "annotations": [{"result": []}]}]')
    assert "Left out: 1 annotations without a choice" in shown("import", "tasks.json", "out.csv")
    Path("other.json").write_text("{}")
    assert "neither a list of Label Studio's tasks nor" in refused("import", "other.json", "o.csv")


def test_wrong_labels_are_shown_with_what_names_the_row(votes: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["tag,weight,animal"]
    for number in range(60):
        cat = number % 2 == 0
        weight = random.normal(4, 1) if cat else random.normal(20, 2)
        name = "dog" if number == 10 or not cat else "cat"
        lines.append(f"tag{number},{weight:.3f},{name}")
    Path("animals.csv").write_text("\n".join([*lines, "tag60,5,ferret"]))
    found = answer("errors", "animals.csv", "--label", "animal", "--id", "tag")
    assert [(one["row"], one["id"], one["suggested"]) for one in found["errors"]] == [
        (11, "tag10", "cat")
    ]
    text = shown("errors", "animals.csv", "--label", "animal", "--id", "tag")
    assert "1 of 60 labels are probably wrong." in text
    assert "Too rare to be checked: ferret 1" in text
    assert "Did you mean 'animal'?" in refused("errors", "animals.csv", "--label", "animl")


def test_brackets_in_a_set_are_no_markup(votes: Path) -> None:
    Path("marked.csv").write_text("item,labeller,label\n[red]a,[b]x,[i]c\n[red]a,[b]y,[/]d\n")
    assert "[red]a" in shown("ambiguous", "marked.csv")
    assert "[/]d 1, [i]c 1" in shown("ambiguous", "marked.csv")
    assert "[b]x" in shown("agreement", "marked.csv", "--by-pair")
