"""The addresses of pages that pictures and other pages lead to."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from treadle.kernel.errors import NotFound
from treadle.kernel.escaping import visible


def step(name: object) -> str:
    """A name as one step of a path.

    Args:
        name: The name.
    """
    return quote(visible(str(name)), safe="")


def query(asked: Mapping[str, object]) -> str:
    """Names and values as what follows the question mark of an address.

    Args:
        asked: Values by name.
    """
    return urlencode({name: visible(str(value)) for name, value in asked.items()})


def number_of(text: str, thing: str, *, digits: int = 9) -> int:
    """Read a number in an address.

    Args:
        text: The text of the address.
        thing: What has the number, such as ``experiment``.
        digits: Digits that it has at most.

    Raises:
        NotFound: It is no number, or one that no such thing has.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise NotFound(f"There is no {thing} '{text[:40]}'. Its address ends with its number.")
    return int(text)


def dataset_page(project: str, dataset: str, version: str = "") -> str:
    """The page of a dataset, or of one of its versions.

    Args:
        project: Name of the project.
        dataset: Name of the dataset.
        version: Digest of the version; empty for the newest.
    """
    asked = {"dataset": dataset} | ({"version": version} if version else {})
    return f"/data/{step(project)}?{query(asked)}"


def page_of(thing: str) -> str:
    """The page of a thing as events name it, such as ``version:flights:3``; empty where none is.

    Args:
        thing: The thing with its kind before the colon.
    """
    kind, _, name = thing.partition(":")
    path = step(name)
    if kind == "version":
        model, colon, number = name.rpartition(":")
        return f"/models/{step(model)}/{step(number)}" if colon else f"/models/{path}"
    if kind == "alias":
        return f"/models/{step(name.partition('@')[0])}"
    if kind in ("window", "slo"):
        return f"/monitoring/{step(name.partition('/')[0])}"
    if kind == "dataset" and "/" in name:
        project, _, dataset = name.partition("/")
        return dataset_page(project, dataset)
    pages = {
        "model": "/models/",
        "endpoint": "/endpoints/",
        "live": "/endpoints/",
        "run": "/runs/",
        "study": "/studies/",
        "erasure": "/governance/erasures/",
        "pipeline": "/pipelines/",
        "project": "/projects/",
        "experiment": "/experiments/",
        "incident": "/incidents/",
    }
    if kind == "job":
        return f"/infrastructure?job={path}"
    return f"{pages[kind]}{path}" if kind in pages else ""
