"""Renders this package's templates."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, select_autoescape

from treadle.kernel import escaping

_templates = Environment(
    loader=PackageLoader("treadle.ui"), autoescape=select_autoescape(), finalize=escaping.html
)


def _step(name: object) -> str:
    """A name as one step of a path."""
    return quote(escaping.visible(str(name)), safe="")


def _query(asked: Mapping[str, object]) -> str:
    """Names and values as what follows the question mark of an address."""
    return urlencode({name: escaping.visible(str(value)) for name, value in asked.items()})


_templates.filters["step"] = _step
_templates.filters["query"] = _query


def render(template: str, **facts: object) -> str:
    """Render a template of this package.

    Args:
        template: The template's file name.
        facts: The template's variables.
    """
    return _templates.get_template(template).render(**facts)
