"""Label sets come from Label Studio and COCO, and go back, without a change."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.data.labelling import coco, label_studio
from treadle.data.labelling.exchange import read_document
from treadle.data.labelling.sets import LabelRow
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid, NotFound

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
names = st.one_of(texts, st.integers(0, 10**20).map(str), st.sampled_from(["007", "²", "-1"]))
moments = st.sampled_from(["", "2026-01-01T10:00:00Z", "2026-01-01 12:00:00.5+02:00"])
seconds = st.one_of(st.none(), st.floats(0, 1e6))
regions = st.builds(
    "{}#xywh={!r},{!r},{!r},{!r}".format,
    texts,
    *[st.one_of(st.integers(0, 4000), st.floats(0, 4000, allow_subnormal=False))] * 4,
)
rows_of_items = st.lists(
    st.builds(LabelRow, names, names, names, moments, seconds),
    max_size=6,
    unique_by=lambda row: row[:2],
)
rows_of_images = st.lists(
    st.builds(LabelRow, st.one_of(texts, regions), names, names, moments, seconds),
    max_size=6,
    unique_by=lambda row: row[:2],
)


def through_json(value: object) -> Any:
    return json.loads(to_json(value))


@given(rows_of_items)
def test_label_studio_gives_back_what_it_got(rows: list[LabelRow]) -> None:
    taken, told = label_studio.from_tasks(through_json(label_studio.to_tasks(rows)))
    assert sorted(taken, key=str) == sorted(rows, key=str)
    assert (told.labels, told.left_out) == (len(rows), {})


@given(rows_of_images)
def test_coco_gives_back_what_it_got(rows: list[LabelRow]) -> None:
    taken, told = coco.from_document(through_json(coco.to_document(rows)))
    assert taken == rows
    assert (told.labels, told.left_out) == (len(rows), {})


def task(**annotation: Any) -> dict[str, Any]:
    """A task as Label Studio exports it, with one annotation."""
    chosen = {
        "id": "x1",
        "type": "choices",
        "origin": "manual",
        "from_name": "animal",
        "to_name": "image",
        "value": {"choices": ["Cat"]},
    }
    made = {
        "id": 1,
        "completed_by": {"id": 4, "email": "anna@example.org", "first_name": "Anna"},
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-01-01T10:00:00.123456Z",
        "lead_time": 4.25,
        "result": [chosen],
    }
    return {"id": 7, "data": {"image": "/data/a.jpg"}, "annotations": [made | annotation]}


def choices(*labels: str) -> dict[str, Any]:
    return {"type": "choices", "value": {"choices": list(labels)}}


def test_an_export_of_label_studio_is_read() -> None:
    tasks = [task(), task(completed_by=5, lead_time=None), task(completed_by=None)]
    (first, second, third), _ = label_studio.from_tasks(tasks, labeller="import")
    assert first == LabelRow(
        "/data/a.jpg", "anna@example.org", "Cat", "2026-01-01T10:00:00.123456Z", 4.25
    )
    assert (second.labeller, second.seconds) == ("5", None)
    assert third.labeller == "import"


def test_an_item_is_what_the_data_name() -> None:
    several = task() | {"data": {"image": "a.jpg", "photo_id": 12}}
    assert label_studio.from_tasks([several])[0][0].item == "7"
    assert label_studio.from_tasks([several], item="photo_id")[0][0].item == "12"
    with pytest.raises(Invalid, match=r"task 1 have no 'imge'\. Did you mean 'image'\?"):
        label_studio.from_tasks([several], item="imge")


def test_what_a_label_set_cannot_hold_is_counted() -> None:
    tasks = [
        task(was_cancelled=True),
        task(result=[choices("Cat", "Dog")]),
        task(result=[choices("Cat"), choices("Big")]),
        task(result=[{"type": "rectanglelabels", "value": {"x": 1}}]),
        task(result=[]),
    ]
    rows, taken = label_studio.from_tasks(tasks)
    assert rows == []
    assert taken.left_out == {
        "annotations that were skipped": 1,
        "annotations with several choices": 2,
        "annotations without a choice": 2,
    }


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([3], "Task 1 is no JSON object."),
        ([{"id": 1}], "Task 1 has no 'data'."),
        ([{"id": 1, "data": {"a": "b"}, "annotations": {}}], "'annotations' of Task 1 has a value"),
        (
            [task(created_at="soon")],
            "'soon' in 'created_at' of an annotation of task 1 is no time.",
        ),
        ([task(lead_time="4")], "'4' in 'lead_time' of an annotation of task 1 is no duration."),
        ([task(lead_time=-4)], "is below zero."),
        (
            [task(result=[{"type": "choices"}])],
            "A result of an annotation of task 1 has no 'value'",
        ),
    ],
)
def test_what_is_wrong_with_a_task_is_said(tasks: list[Any], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        label_studio.from_tasks(tasks)
    assert message in refused.value.message


def document(*annotations: dict[str, Any]) -> dict[str, Any]:
    """A COCO document of two images."""
    return {
        "info": {"year": 2026},
        "licenses": [],
        "images": [
            {"id": 11, "file_name": "a.jpg", "width": 640, "height": 480},
            {"id": 12, "file_name": "b.jpg", "width": 640, "height": 480},
        ],
        "categories": [
            {"id": 3, "name": "cat", "supercategory": "animal"},
            {"id": 5, "name": "dog"},
        ],
        "annotations": [*annotations],
    }


def test_a_document_of_coco_is_read_with_its_regions() -> None:
    whole = {"id": 1, "image_id": 11, "category_id": 3}
    region = {
        "id": 2,
        "image_id": 11,
        "category_id": 5,
        "bbox": [1, 2.5, 3, 4],
        "area": 12,
        "iscrowd": 0,
        "segmentation": [[1, 2, 3, 4, 5, 6]],
    }
    rows, taken = coco.from_document(document(whole, region), labeller="team")
    assert rows == [
        LabelRow("a.jpg", "team", "cat"),
        LabelRow("a.jpg#xywh=1,2.5,3,4", "team", "dog"),
    ]
    assert taken.left_out == {
        "images without a label": 1,
        "outlines of regions, whose boxes are kept": 1,
    }
    (first, second) = coco.to_document(rows)["annotations"]
    assert "bbox" not in first
    assert (second["bbox"], second["area"], second["iscrowd"]) == ([1, 2.5, 3, 4], 12, 0)


def test_an_image_of_several_classes_is_left_out_and_counted() -> None:
    both = [{"id": n, "image_id": 11, "category_id": category} for n, category in ((1, 3), (2, 5))]
    rows, taken = coco.from_document(document(*both, {"image_id": 12, "category_id": 5}))
    assert [row.item for row in rows] == ["b.jpg"]
    assert taken.left_out == {"labels of images with several classes": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 99}, "Annotation 1 is of image 99, which the document does not have."),
        ({"category_id": 99}, "Annotation 1 is of category 99"),
        ({"bbox": [1, 2]}, "'bbox' of annotation 1 is not [x, y, width, height]."),
        ({"bbox": [1, 2, 3, "4"]}, "'bbox' of annotation 1"),
        ({"seconds": "long"}, "'long' in 'seconds' of annotation 1 is no duration."),
    ],
)
def test_what_is_wrong_with_an_annotation_is_said(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as refused:
        coco.from_document(document({"id": 1, "image_id": 11, "category_id": 3} | change))
    assert message in refused.value.message


def test_a_file_that_is_no_json_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="There is no file"):
        read_document(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(Invalid, match="is no JSON: "):
        read_document(tmp_path / "a.json")
    with pytest.raises(Invalid, match="The document has no 'images'"):
        coco.from_document({"annotations": []})
