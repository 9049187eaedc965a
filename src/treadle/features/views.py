"""Feature views: where features come from, whose they are, and when they were known."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from treadle.kernel.clock import duration
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Invalid
from treadle.ports.blobs import digest_of

NAME = r"[A-Za-z_][A-Za-z0-9_-]{0,62}"
"""What views are named: letters, digits, hyphens and underscores."""

Frame = Mapping[str, Any]
"""Columns by name, each an array of shape (rows,): see ``treadle.features.transforms``."""
Transform = Callable[[Frame], Any]
"""Takes a frame and returns a column: an array of shape (rows,)."""


@dataclass(frozen=True, kw_only=True)
class FeatureView:
    """Features of one kind of entity, as a table or a query over a table of facts.

    A *fact* is a row of the source, after ``sql``. For a row that asks at a moment, a fact counts
    when its event is not later than the moment, and when it had arrived by then. Of those with the
    same keys the one with the latest event counts; of several at the same time the one that arrived
    last; of these the last one in the order of the source. A fact without an event time or with a
    null among its keys is never seen. A fact whose arrival is null arrived with its event.

    Attributes:
        name: Name of the view.
        source: Path or glob of CSV or Parquet files, a folder of them, a frame, or, in
            ``treadle.toml``, the name of a dataset.
        keys: Columns that name the entity; empty for features that are the same for all.
        at: Column with the time of the event: a timestamp, a date, or a number of seconds since
            1970. Times without a zone are in UTC. The resolution is a microsecond.
        created_at: Column with the time at which the row arrived, if there is one.
        ttl: How long features are valid after their event, such as ``3h``; empty for ever.
        sql: A ``SELECT`` over ``source`` that gives the facts; empty for the source itself.
        columns: The columns that are features; by default all others.
        transforms: Columns that are computed of others when they are asked for, by name; or
            functions that ``on_demand`` has marked.
        freshness: The largest age of the newest fact that is still good, such as ``6h``; empty for
            no objective.
        project: The project that declares the view; empty for none.
    """

    name: str
    source: Any
    keys: Sequence[str]
    at: str
    created_at: str = ""
    ttl: str = ""
    sql: str = ""
    columns: Sequence[str] = ()
    transforms: Mapping[str, Transform] | Sequence[Transform] = field(default_factory=dict)
    freshness: str = ""
    project: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(NAME, self.name):
            raise Invalid(
                f"A feature view cannot be named '{self.name}'. Use letters, digits, hyphens and "
                "underscores, 63 at most."
            )
        if isinstance(self.keys, str) or isinstance(self.columns, str):
            raise Invalid(f"View '{self.name}': write keys and columns as lists of names.")
        for what in ("ttl", "freshness"):
            if getattr(self, what):
                try:
                    duration(getattr(self, what))
                except Invalid as error:
                    raise Invalid(f"View '{self.name}', {what}: {error.message}") from error

    @property
    def ttl_micros(self) -> int | None:
        """How long features are valid after their event, in microseconds; None for ever."""
        return _micros(self.ttl)

    @property
    def freshness_seconds(self) -> float | None:
        """The largest age of the newest fact that is still good, or None."""
        micros = _micros(self.freshness)
        return None if micros is None else micros / 1e6

    @property
    def stored_as(self) -> str:
        """The view's name in an online store: ``PROJECT/NAME``, or the name alone."""
        return f"{self.project}/{self.name}" if self.project else self.name

    @property
    def on_demand(self) -> dict[str, Transform]:
        """The transforms by the name of their column."""
        if isinstance(self.transforms, Mapping):
            return dict(self.transforms)
        return {transform.__name__: transform for transform in self.transforms}

    @property
    def definition(self) -> str:
        """Digest of all that decides what is materialised."""
        source = str(self.source) if isinstance(self.source, str | Path) else ""
        parts = (source, list(self.keys), self.at, self.created_at, self.sql, list(self.columns))
        return digest_of(to_json(parts))


def on_demand(transform: Transform) -> Transform:
    """Mark a function as a transform whose column is named like the function.

    Args:
        transform: Takes a frame (columns by name, each an array of shape (rows,)) and returns an
            array of shape (rows,). It is called alike for training and for serving.

    Returns:
        The function itself.

    Raises:
        Invalid: It has no name of its own.
    """
    if not getattr(transform, "__name__", "").isidentifier():
        raise Invalid(
            "A function without a name gives no column's name. Write it with def, or give the name "
            "with it: transforms={'name': function}"
        )
    return transform


def _micros(text: str) -> int | None:
    return duration(text) // timedelta(microseconds=1) if text else None
