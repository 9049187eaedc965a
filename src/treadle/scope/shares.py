"""Reads shares such as ``10%``."""

import re

from treadle.kernel.errors import Invalid


def percentage(text: str, field: str = "share", *, what: str = "not") -> float:
    """Parse a share such as ``10%`` into a number above 0 and up to 1.

    Args:
        text: Number followed by ``%``.
        field: Name of the field in error messages.
        what: Words for the error message, which reads "'TEXT' is WHAT a share such as '10%'".

    Raises:
        Invalid: The text is malformed or out of range.
    """
    if not re.fullmatch(r"\d+(\.\d+)?%", text):
        raise Invalid(f"Field '{field}': '{text}' is {what} a share such as '10%'.")
    part = float(text[:-1]) / 100
    if not 0 < part <= 1:
        raise Invalid(f"Field '{field}': '{text}' is not between 0% and 100%.")
    return part
