"""Erases a person's features from the online store."""

from collections.abc import Iterator

from treadle.data.erasing.subject import Matching
from treadle.features.keys import parts_of
from treadle.kernel.entity import from_packed
from treadle.kernel.errors import Invalid, NotFound
from treadle.kernel.stage import ERASE
from treadle.ports.content import HeldRows
from treadle.ports.database import Scrubbed
from treadle.ports.online_store import OnlineRow, OnlineStore, OpenOnlineStore, ReadThrough
from treadle.scope.local import LocalScope

KEYS_AT_ONCE = 500


class ErasedFeatures:
    """Erases rows whose key or features are a subject's; sources may bring them back.

    Args:
        scope: Knows what the keys of views are.
        open_store: Gives the home's online store.
    """

    def __init__(self, scope: LocalScope, open_store: OpenOnlineStore) -> None:
        self._scope, self._open_store = scope, open_store

    @ERASE("rows")
    def rows(self, subjects: list[Matching], project: str | None) -> Iterator[HeldRows]:
        """Yield how many rows of each view are some subjects'.

        Args:
            subjects: The subjects.
            project: The project; None for all.
        """
        store = self._open_store()
        for view in self._views(store, project):
            owner, _, name = view.rpartition("/")
            what = f"online features of view '{name}' of project '{owner}'"
            if isinstance(store, ReadThrough):
                yield HeldRows(owner, what, len(self._keys(store, view, subjects)))
            else:
                yield HeldRows(owner, what, 0, "this online store cannot be read through")

    @ERASE("remove")
    def remove(self, subjects: list[Matching], project: str | None) -> int:
        """Erase those rows.

        Args:
            subjects: The subjects.
            project: The project; None for all.
        """
        store, removed = self._open_store(), 0
        if not isinstance(store, ReadThrough):
            return 0
        for view in self._views(store, project):
            keys = self._keys(store, view, subjects)
            for start in range(0, len(keys), KEYS_AT_ONCE):
                removed += store.delete(view, keys[start : start + KEYS_AT_ONCE])
        if isinstance(store, Scrubbed):
            store.scrub()
        return removed

    def _views(self, store: OnlineStore, project: str | None) -> list[str]:
        views = [one.view for one in store.stored()]
        return [view for view in views if project in (None, view.rpartition("/")[0])]

    def _keys(self, store: ReadThrough, view: str, subjects: list[Matching]) -> list[str]:
        names = self._key_names(view)
        return [row.key for row in store.rows(view) if _is_of(row, names, subjects)]

    def _key_names(self, view: str) -> list[str]:
        """The keys of a view; none where it is not declared any more."""
        project, _, name = view.rpartition("/")
        try:
            declared = self._scope.project(name=project).spec.features
        except NotFound:
            return []
        return list(declared[name].keys) if name in declared else []


def _is_of(row: OnlineRow, names: list[str], subjects: list[Matching]) -> bool:
    parts = [row.key] if len(names) == 1 else parts_of(row.key)
    if len(names) == len(parts):
        key = dict(zip(names, parts, strict=True))
        if any(
            one.is_column(name) and one.fits_text(text)
            for one in subjects
            for name, text in key.items()
        ):
            return True
    elif any(one.text in parts for one in subjects):  # which key is which is not known any more
        return True
    try:
        features = from_packed(row.packed, dict[str, object])
    except Invalid:
        return False
    return any(
        one.is_column(name) and one.fits(value)
        for one in subjects
        for name, value in features.items()
    )
