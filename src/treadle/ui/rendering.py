"""Renders this package's templates."""

from jinja2 import Environment, PackageLoader, select_autoescape

from treadle.kernel import escaping
from treadle.ui.addresses import query, step
from treadle.ui.durations import duration_of

_templates = Environment(
    loader=PackageLoader("treadle.ui"), autoescape=select_autoescape(), finalize=escaping.html
)


_templates.filters["step"] = step
_templates.filters["query"] = query
_templates.filters["duration"] = duration_of


def render(template: str, **facts: object) -> str:
    """Render a template of this package.

    Args:
        template: The template's file name.
        facts: The template's variables.
    """
    return _templates.get_template(template).render(**facts)
