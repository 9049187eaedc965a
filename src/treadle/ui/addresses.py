"""The addresses of pages that pictures and other pages lead to."""

from urllib.parse import quote, urlencode


def dataset_page(project: str, dataset: str, version: str = "") -> str:
    """The page of a dataset, or of one of its versions.

    Args:
        project: Name of the project.
        dataset: Name of the dataset.
        version: Digest of the version; empty for the newest.
    """
    asked = {"dataset": dataset} | ({"version": version} if version else {})
    return f"/data/{quote(project, safe='')}?{urlencode(asked)}"


def page_of(thing: str) -> str:
    """The page of a thing as events name it, such as ``version:flights:3``; empty where none is.

    Args:
        thing: The thing with its kind before the colon.
    """
    kind, _, name = thing.partition(":")
    path = quote(name, safe="")
    if kind == "version" and ":" in name:
        model, _, number = name.rpartition(":")
        return f"/models/{quote(model, safe='')}/{quote(number, safe='')}"
    if kind == "alias":
        return f"/models/{quote(name.partition('@')[0], safe='')}"
    if kind in ("window", "slo"):
        return f"/monitoring/{quote(name.partition('/')[0], safe='')}"
    if kind == "dataset" and "/" in name:
        project, _, dataset = name.partition("/")
        return dataset_page(project, dataset)
    pages = {
        "model": "/models/",
        "endpoint": "/endpoints/",
        "live": "/endpoints/",
        "run": "/runs/",
        "pipeline": "/pipelines/",
        "project": "/projects/",
        "experiment": "/experiments/",
    }
    if kind == "job":
        return f"/infrastructure?job={path}"
    return f"{pages[kind]}{path}" if kind in pages else ""
