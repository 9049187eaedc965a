"""Checks of a dataset as ``treadle.toml`` declares them: ``[[data.NAME.checks]]``."""

import math
from typing import Literal

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid

Severity = Literal["refuse", "quarantine", "warn"]
"""What a failed check does: the version is refused, its rows are set aside, or an event tells."""
ROW_EXPECTATIONS = ("min", "max", "values", "matches", "unique", "references", "sql")
"""Expectations that single rows violate; with ``missing_max`` their rows can be set aside."""
_OF_COLUMNS: tuple[str, ...] = (
    *("type", "missing_max", "min", "max", "values", "matches", "unique", "references"),
    *("fresh", "same_as"),
)


class DataCheck(Entity):
    """Table ``[[data.NAME.checks]]``: what is expected of a column, or of the table.

    One table may expect several things of its column; each is reported by itself.

    Attributes:
        column: The column that is checked; empty for ``rows_min``, ``rows_max`` and ``sql``. A
            check without an expectation demands that the column is there.
        type: What the column holds: ``number``, ``time``, ``boolean`` or ``text``.
        missing_max: Largest share of rows without a value, 0 to 1.
        min: Smallest value: a number, or a date or time as ISO 8601 text.
        max: Largest value.
        values: Values that are allowed; a missing one is.
        matches: Regular expression (RE2) that a whole value matches.
        unique: Whether no value repeats.
        fresh: Duration: the newest value is at most this old.
        same_as: Version that values are distributed like: ``newest``, or the beginning of its
            digest.
        distance: How distributions are compared: ``psi`` (population stability index) or ``js``
            (Jensen-Shannon distance).
        distance_max: Largest distance from that version.
        references: Column ``DATASET.COLUMN`` of the same project that holds each value.
        rows_min: Smallest number of rows.
        rows_max: Largest number of rows.
        sql: ``SELECT`` over the view ``rows`` that returns the rows which violate the check.
        severity: What happens when the check fails: ``refuse`` the version, set the rows aside as
            dataset ``NAME.quarantine``, or ``warn`` by an event.
    """

    column: str = ""
    type: Literal["", "number", "time", "boolean", "text"] = ""
    missing_max: float | None = None
    min: int | float | str | None = None
    max: int | float | str | None = None
    values: list[int | float | bool | str] = []
    matches: str = ""
    unique: bool = False
    fresh: str = ""
    same_as: str = ""
    distance: Literal["psi", "js"] = "psi"
    distance_max: float = 0.2
    references: str = ""
    rows_min: int | None = None
    rows_max: int | None = None
    sql: str = ""
    severity: Severity = "refuse"

    @property
    def expectations(self) -> list[str]:
        """Names of the fields that expect something; ``column`` where only that is expected."""
        fields = (*_OF_COLUMNS, "rows_min", "rows_max", "sql")
        wanted = [name for name in fields if _is_given(getattr(self, name))]
        return wanted or (["column"] if self.column else [])


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value != "" and value != []


def refuse_unsound(check: DataCheck, field: str) -> None:
    """Refuse a check that expects nothing, or what cannot be.

    Args:
        check: The check.
        field: Its field in error messages, such as ``data.rows.checks[0]``.

    Raises:
        Invalid: The check is unsound. The error names the field.
    """
    expected = check.expectations
    if not expected:
        raise Invalid(f"Field '{field}': it expects nothing. Name a column, rows_min or sql.")
    if not check.column and (needing := [name for name in expected if name in _OF_COLUMNS]):
        raise Invalid(f"Field '{field}.{needing[0]}': of which column? Write column = \"NAME\".")
    _refuse_bounds(check, field)
    if check.severity == "quarantine":
        for name in expected:
            if name not in (*ROW_EXPECTATIONS, "missing_max"):
                raise Invalid(
                    f"Field '{field}.severity': no single row violates '{name}', so none can be "
                    'set aside. Write severity = "refuse" or "warn".'
                )
    if check.references and not all(check.references.partition(".")[::2]):
        raise Invalid(f"Field '{field}.references': write DATASET.COLUMN.")
    if check.fresh:
        try:
            duration(check.fresh)
        except Invalid as error:
            raise Invalid(f"Field '{field}.fresh': {error.message}") from error


def _refuse_bounds(check: DataCheck, field: str) -> None:
    for name in ("min", "max", "missing_max", "distance_max"):
        value = getattr(check, name)
        if isinstance(value, int | float) and not math.isfinite(value):
            raise Invalid(f"Field '{field}.{name}': a bound must be a finite number.")
    if check.missing_max is not None and not 0 <= check.missing_max <= 1:
        raise Invalid(f"Field '{field}.missing_max': a share is between 0 and 1.")
    if isinstance(check.min, str) != isinstance(check.max, str) and None not in (
        check.min,
        check.max,
    ):
        raise Invalid(f"Field '{field}.max': min and max must be of one kind.")
    for low, high in (("min", "max"), ("rows_min", "rows_max")):
        least, most = getattr(check, low), getattr(check, high)
        if least is not None and most is not None and least > most:
            raise Invalid(f"Field '{field}.{high}': {most} is less than {low} = {least}.")
