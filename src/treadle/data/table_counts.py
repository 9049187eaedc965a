"""Counts of whole tables over bins that are chosen once, for comparisons with later rows."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from treadle.data.columns import Source, SourceColumn
from treadle.data.pairs import edges_of
from treadle.data.profile import BINS, CATEGORIES, MISSING, OTHER, RARE, ColumnProfile, Reference
from treadle.data.sources import open_source
from treadle.kernel.errors import Invalid


def reference_of(table: Any) -> dict[str, ColumnProfile]:
    """Count a table over bins chosen from it, so that later rows can be compared with it.

    Bins are chosen on every second row and the remaining rows are counted, as
    ``reference_profile`` does it. Files are read piece by piece.

    Args:
        table: A table, as ``treadle.drift`` takes it.

    Returns:
        Counts by column. A column without any value in the rows that choose is left out.

    Raises:
        Invalid: It is no table.
        NotFound: There is no such file.
    """
    found = {}
    with open_source(table, "table") as source:
        for place, name in enumerate(source.names):
            chosen = _bins(source.column(place, 0))
            if chosen is not None:
                found[name] = _counted_half(source, place, chosen)
    return found


def counts_of(table: Any, reference: Mapping[str, ColumnProfile]) -> dict[str, ColumnProfile]:
    """Count a table over the bins of a reference.

    Counts of several tables merge by addition, with ``ColumnProfile.merge``.

    Args:
        table: A table, as ``treadle.drift`` takes it.
        reference: The reference's counts by column.

    Returns:
        Counts by column, of the columns that the reference has.

    Raises:
        Invalid: It is no table, or a column holds text where the reference has numbers.
        NotFound: There is no such file.
    """
    counts, refused = count_each(table, reference)
    if refused:
        name, why = next(iter(refused.items()))
        raise Invalid(f"Column '{name}' cannot be counted: {why}. Convert it, or leave it out.")
    return counts


def count_each(
    table: Any, reference: Mapping[str, ColumnProfile]
) -> tuple[dict[str, ColumnProfile], dict[str, str]]:
    """Count the columns of a table that can be counted over the bins of a reference.

    Args:
        table: A table, as ``treadle.drift`` takes it.
        reference: The reference's counts by column.

    Returns:
        Counts by column, and why others of the reference's columns were not counted.

    Raises:
        Invalid: It is no table.
        NotFound: There is no such file.
    """
    counts: dict[str, ColumnProfile] = {}
    refused: dict[str, str] = {}
    with open_source(table, "table") as source:
        for place, name in enumerate(source.names):
            if name in reference:
                try:
                    counts[name] = _counted(source.column(place, None), reference[name])
                except Invalid as error:
                    refused[name] = error.message
    return counts, refused


def profiles_in(value: Any) -> dict[str, ColumnProfile] | None:
    """The counts by column that a value holds; None where it is something else.

    Args:
        value: A mapping of names to counts, a model's ``Reference``, or anything.
    """
    if isinstance(value, Reference):
        return value.columns
    if isinstance(value, Mapping) and value:
        counts = [one for one in value.values() if isinstance(one, ColumnProfile)]
        return dict(value) if len(counts) == len(value) else None
    return None


def _bins(column: SourceColumn) -> ColumnProfile | None:
    """Bins chosen from a column, without counts; None without values to choose from."""
    if column.holds == "nothing":
        return None
    summary = column.summary()
    if column.holds == "text":
        rows = dict(zip(summary.values.tolist(), summary.weights.tolist(), strict=True))
        common = [text for text in rows if rows[text] >= RARE and text not in (OTHER, MISSING)]
        common.sort(key=lambda text: (-rows[text], text))
        labels = [*sorted(common[:CATEGORIES]), OTHER, MISSING]
        return ColumnProfile(counts=[0] * len(labels), labels=labels)
    if not len(summary.values):
        return None
    edges = edges_of([summary], BINS).tolist() or [float(summary.values[0])]
    return ColumnProfile(counts=[0] * (len(edges) + 2), edges=edges)


def _counted_half(source: Source, place: int, bins: ColumnProfile) -> ColumnProfile:
    try:
        return _counted(source.column(place, 1), bins)
    except Invalid as error:
        raise Invalid(
            f"Column '{source.names[place]}' holds numbers and texts. Make it either."
        ) from error


def _counted(column: SourceColumn, bins: ColumnProfile) -> ColumnProfile:
    if column.holds == "nothing":
        rows = sum(column.labels([OTHER, MISSING]))
        return ColumnProfile(
            counts=[*([0] * (len(bins.counts) - 1)), rows], edges=bins.edges, labels=bins.labels
        )
    if (column.holds == "text") != bool(bins.labels):
        held = ("numbers", "text") if column.holds == "text" else ("text", "numbers")
        raise Invalid(f"it holds {held[0]} in the reference and {held[1]} now")
    if bins.labels:
        counts = column.labels(bins.labels)
    else:
        counts = column.numbers(np.array(bins.edges)).counts.tolist()
    return ColumnProfile(counts=counts, edges=bins.edges, labels=bins.labels)
