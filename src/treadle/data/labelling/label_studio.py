"""Label Studio's JSON of tasks whose labels are choices: read as a label set, and written as one.

A task is an item; each of its annotations is a label by the user in ``completed_by``, with its
``created_at`` and its ``lead_time`` in seconds.
"""

from collections.abc import Iterable
from typing import Any

from treadle.data.labelling.exchange import Imported, Taking, part, times
from treadle.data.labelling.sets import LabelRow
from treadle.kernel.errors import Invalid, did_you_mean

FORMAT = "label-studio"
ITEM, LABEL = "item", "label"
"""Names of a task's data and of its control, as the labelling interface of an export has them."""


def from_tasks(
    tasks: list[Any], *, labeller: str = "unknown", item: str | None = None
) -> tuple[list[LabelRow], Imported]:
    """Take the labels of Label Studio's tasks.

    Args:
        tasks: The tasks, as its export in the format JSON lists them.
        labeller: Who has made annotations that name nobody.
        item: Key of a task's ``data`` that names the item; None takes ``item``, else the only key,
            else the task's id.

    Returns:
        The rows of a label set, and what was taken and left out.

    Raises:
        Invalid: A task is none of Label Studio's, or has no such key.
    """
    taking = Taking()
    for number, task in enumerate(tasks, 1):
        where = f"Task {number}"
        name = _item(task, item, where)
        for annotation in part(task, "annotations", list, where):
            _take(taking, name, annotation, labeller, f"An annotation of task {number}")
    return taking.result(FORMAT)


def to_tasks(rows: Iterable[LabelRow]) -> list[dict[str, Any]]:
    """Write a label set as Label Studio's tasks, one for each item.

    The data of a task are ``{"item": …}``; the labelling interface needs
    ``<Choices name="label" toName="item">``.

    Args:
        rows: The rows; those without a label are left out.
    """
    by_item: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row.label:
            by_item.setdefault(row.item, []).append(_annotation(row))
    return [
        {"id": number, "data": {ITEM: item}, "annotations": annotations}
        for number, (item, annotations) in enumerate(by_item.items(), 1)
    ]


def _item(task: Any, key: str | None, where: str) -> str:
    data = part(task, "data", dict, where)
    if key is None:
        key = ITEM if ITEM in data else next(iter(data)) if len(data) == 1 else None
    if key is None:
        return str(part(task, "id", (int, str), where))
    if key not in data:
        raise Invalid(f"The data of {where.lower()} have no '{key}'.{did_you_mean(key, data)}")
    return str(part(data, key, (str, int, float), f"the data of {where.lower()}"))


def _take(taking: Taking, item: str, annotation: Any, labeller: str, where: str) -> None:
    results = part(annotation, "result", list, where)
    choices = [one for one in results if isinstance(one, dict) and one.get("type") == "choices"]
    labels = [label for choice in choices for label in _labels(choice, where)]
    if annotation.get("was_cancelled"):
        taking.left_out["annotations that were skipped"] += 1
    elif not labels:
        taking.left_out["annotations without a choice"] += 1
    elif len(labels) > 1:
        taking.left_out["annotations with several choices"] += 1
    else:
        at, seconds = times(annotation, "created_at", "lead_time", where)
        by = _labeller(annotation.get("completed_by"), labeller)
        taking.rows.append(LabelRow(item, by, labels[0], at, seconds))


def _labels(choice: dict[str, Any], where: str) -> list[str]:
    value = part(choice, "value", dict, f"A result of {where.lower()}")
    return [str(label) for label in part(value, "choices", list, where) if label != ""]


def _labeller(user: Any, otherwise: str) -> str:
    """A user is a number, or an object with an e-mail address."""
    if isinstance(user, dict):
        user = user.get("email") or user.get("id")
    return otherwise if user in (None, "") else str(user)


def _annotation(row: LabelRow) -> dict[str, Any]:
    result = {
        "from_name": LABEL,
        "to_name": ITEM,
        "type": "choices",
        "value": {"choices": [row.label]},
    }
    annotation: dict[str, Any] = {"completed_by": _user(row.labeller), "result": [result]}
    if row.at:
        annotation["created_at"] = row.at
    if row.seconds is not None:
        annotation["lead_time"] = row.seconds
    return annotation


def _user(labeller: str) -> int | dict[str, str]:
    numbered = labeller.isascii() and labeller.isdigit() and str(int(labeller[:18])) == labeller
    return int(labeller) if numbered else {"email": labeller}
