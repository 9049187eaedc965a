"""Which operations the pages show and offer, read from the pages' own code."""

import inspect
import re
import sys
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple

from treadle.kernel.operation import operations
from treadle.kernel.stage import kinds_of
from treadle.platform.stages import stages
from treadle.ui.pages import PAGES
from treadle.ui.site import Page

_IMPORT = re.compile(r"^(?:from|import) .*$", re.MULTILINE)
_ASKED = re.compile(r"\b(\w+)(?=\.(\w+)\b)")
_OFFERED = re.compile(r"""action\('(\w+)', *'(\w+)'|data-operation="(\w+)/(\w+)\"""")
_INCLUDED = re.compile(r"""{% (?:extends|import|include|from) "([\w.]+)\"""")
_CONVERTER = re.compile(r":\w+}")
_FETCHED = re.compile(r"\b(\w+)/(\w+)\b")


class AreaOperations(NamedTuple):
    """What an area of the site needs operations for.

    Attributes:
        area: The area's name.
        paths: The paths of its pages.
        shown: Operations whose answers its pages show, as ``stage.operation``.
        offered: Operations that its pages call when their reader says so.
    """

    area: str
    paths: list[str]
    shown: set[str]
    offered: set[str]


def areas() -> list[AreaOperations]:
    """The areas of the site, in its order, without what their scripts fetch."""
    return [
        _operations_of(name, list(pages)) for name, pages in groupby(PAGES, lambda page: page.area)
    ]


def fetched() -> set[str]:
    """The operations that scripts of pages call, or are told to call by ``data-source``."""
    folder = files("treadle.ui")
    texts = [
        one.read_text(encoding="utf-8")
        for part in ("static", "templates")
        for one in folder.joinpath(part).iterdir()
        if one.is_file() and one.name != "api.html"
    ]
    named = {".".join(match.groups()) for text in texts for match in _FETCHED.finditer(text)}
    offered = set[str]().union(*(one.offered for one in areas()))
    return named & set(there()) - offered


def there() -> list[str]:
    """All operations, as ``stage.operation``."""
    return [
        f"{stage}.{name}" for stage, kind in kinds_of(stages()).items() for name in operations(kind)
    ]


def left_out() -> list[str]:
    """The operations that no page shows or offers."""
    met = fetched().union(*(one.shown | one.offered for one in areas()))
    return sorted(set(there()) - met)


def text() -> str:
    """The generated part of the reference's page."""
    rows = [
        f"| {one.area} | {_list(one.paths)} | {_list(sorted(one.shown))} "
        f"| {_list(sorted(one.offered))} |"
        for one in areas()
    ]
    missing = [
        f"- {stage}: {_list(list(names))}"
        for stage, names in groupby(left_out(), lambda name: name.partition(".")[0])
    ]
    return "\n".join(
        [
            "| area | pages | shows | offers |\n|---|---|---|---|",
            *rows,
            f"\nScripts of the pages fetch {_list(sorted(fetched()))}.",
            "\n## Not on any page\n",
            *missing,
            "",
        ]
    )


def _operations_of(area: str, pages: list[Page]) -> AreaOperations:
    modules = {page.facts.__module__ for page in pages}
    code = _IMPORT.sub("", "\n".join(_sources(modules)))
    templates = "\n".join(_template(name) for name in {page.template for page in pages})
    offered = [match.groups() for match in _OFFERED.finditer(templates)]
    return AreaOperations(
        area=area,
        paths=[_CONVERTER.sub("}", page.path) for page in pages],
        shown=set(there()) & {".".join(match.groups()) for match in _ASKED.finditer(code)},
        offered={f"{a or c}.{b or d}" for a, b, c, d in offered},
    )


def _sources(modules: set[str]) -> list[str]:
    """The sources of modules that are loaded."""
    return [inspect.getsource(sys.modules[name]) for name in sorted(modules)]


def _template(name: str) -> str:
    """A template with those that it is made of."""
    folder, texts, waiting = files("treadle.ui").joinpath("templates"), dict[str, str](), [name]
    while waiting:
        name = waiting.pop()
        if name not in texts:
            texts[name] = folder.joinpath(name).read_text(encoding="utf-8")
            waiting += _INCLUDED.findall(texts[name])
    return "\n".join(texts.values())


def _list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none"
