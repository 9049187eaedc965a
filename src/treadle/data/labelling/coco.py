"""COCO's JSON of images, categories and annotations: read as a label set, and written as one.

An item is an image's file, or a region of it that is named as W3C's Media Fragments name one:
``cat.jpg#xywh=10,20,30,40``. COCO has no labellers: ``labeller``, ``at`` and ``seconds`` are keys
of our own, which other readers pass over.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from treadle.data.labelling.exchange import Imported, Taking, part, times
from treadle.data.labelling.sets import LabelRow, in_order
from treadle.kernel.errors import Invalid

FORMAT = "coco"
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_REGION = re.compile(rf"(.+)#xywh=({_NUMBER}),({_NUMBER}),({_NUMBER}),({_NUMBER})", re.DOTALL)


def from_document(
    document: dict[str, Any], *, labeller: str = "unknown"
) -> tuple[list[LabelRow], Imported]:
    """Take the labels of a COCO document.

    Args:
        document: The document.
        labeller: Who has made annotations that name nobody.

    Returns:
        The rows of a label set, and what was taken and left out.

    Raises:
        Invalid: The document is none of COCO, or an annotation names an image or a category that
            is not there.
    """
    files = _named(document, "images", "file_name")
    categories = _named(document, "categories", "name")
    taking, labelled = Taking(), set()
    for annotation in part(document, "annotations", list, "The document"):
        where = f"Annotation {annotation.get('id')}" if isinstance(annotation, dict) else "One"
        image = part(annotation, "image_id", (int, str), where)
        category = part(annotation, "category_id", (int, str), where)
        for key, kind, known in (
            (image, "image", files),
            (category, "category", categories),
        ):
            if key not in known:
                raise Invalid(f"{where} is of {kind} {key}, which the document does not have.")
        labelled.add(image)
        if annotation.get("segmentation") or annotation.get("keypoints"):
            taking.left_out["outlines of regions, whose boxes are kept"] += 1
        item = files[image] + _fragment(annotation, where)
        by = str(annotation.get("labeller") or labeller)
        at, seconds = times(annotation, "at", "seconds", where)
        taking.rows.append(LabelRow(item, by, categories[category], at, seconds))
    taking.left_out.update({"images without a label": len(files.keys() - labelled)})
    _leave_out_several(taking)
    taking.left_out = +taking.left_out
    return taking.result(FORMAT)


def to_document(rows: Iterable[LabelRow]) -> dict[str, Any]:
    """Write a label set as a COCO document. Width and height of images are not known to it.

    Args:
        rows: The rows; those without a label are left out.
    """
    labelled = [row for row in rows if row.label]
    names = in_order({row.label for row in labelled})
    categories = {name: number for number, name in enumerate(names, 1)}
    images: dict[str, int] = {}
    annotations = []
    for number, row in enumerate(labelled, 1):
        file, box = _region(row.item)
        annotation: dict[str, Any] = {
            "id": number,
            "image_id": images.setdefault(file, len(images) + 1),
            "category_id": categories[row.label],
            "labeller": row.labeller,
        }
        if box:
            annotation |= {"bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        optional = {"at": row.at or None, "seconds": row.seconds}
        annotations.append(
            annotation | {key: value for key, value in optional.items() if value is not None}
        )
    return {
        "images": [{"id": number, "file_name": file} for file, number in images.items()],
        "categories": [{"id": number, "name": name} for name, number in categories.items()],
        "annotations": annotations,
    }


def _named(document: dict[str, Any], key: str, name: str) -> dict[Any, str]:
    """The names of a document's images or categories, by id."""
    return {
        part(one, "id", (int, str), f"One of '{key}'"): part(one, name, str, f"One of '{key}'")
        for one in part(document, key, list, "The document")
    }


def _fragment(annotation: dict[str, Any], where: str) -> str:
    """What names the region of an annotation within its image; '' for the whole image."""
    box = annotation.get("bbox")
    if not box:
        return ""
    if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
        raise Invalid(f"'bbox' of {where.lower()} is not [x, y, width, height].")
    return _written(box)


def _written(box: list[float]) -> str:
    return "#xywh=" + ",".join(map(repr, box))


def _region(item: str) -> tuple[str, list[float]]:
    """The image of an item, and its box; empty for the whole image."""
    found = _REGION.fullmatch(item)
    if not found:
        return item, []
    file, *numbers = found.groups()
    box = [int(text) if text.lstrip("-").isdigit() else float(text) for text in numbers]
    return (file, box) if file + _written(box) == item else (item, [])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _leave_out_several(taking: Taking) -> None:
    """An item has one label by a labeller at a time: those with several classes are left out."""
    classes: dict[tuple[str, ...], set[str]] = {}
    for item, labeller, label, at, _ in taking.rows:
        classes.setdefault((item, labeller, at), set()).add(label)
    several = {key for key, labels in classes.items() if len(labels) > 1}
    kept = [row for row in taking.rows if (row.item, row.labeller, row.at) not in several]
    taking.left_out += Counter(
        {"labels of images with several classes": len(taking.rows) - len(kept)}
    )
    taking.rows = kept
