"""The feature views of projects: materialised into the home's online store, and read from it."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from treadle.data.reads import SensitiveReads
from treadle.events.local import LocalEvents
from treadle.features.keys import texts_of
from treadle.features.model import (
    DeclaredView,
    EntityFeatures,
    FeaturesErased,
    FeaturesMaterialised,
    Freshness,
    Materialised,
    ViewFreshness,
)
from treadle.kernel.clock import Clock, from_micros, to_micros
from treadle.kernel.entity import fields
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.names import ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.database import Database
from treadle.ports.online_store import OpenOnlineStore, StoredView
from treadle.scope.local import LocalScope

if TYPE_CHECKING:
    from treadle.features.views import FeatureView

MOST_KEYS = 10_000
"""Entities that one request may ask for."""


class Features:
    """Feature views of projects, and their features online."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        scope: LocalScope,
        reads: SensitiveReads,
        open_store: OpenOnlineStore,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._scope, self._reads, self._open_store = scope, reads, open_store

    @query()
    def views(self, *, project: ProjectName) -> list[DeclaredView]:
        """List the feature views that a project declares, by name.

        Args:
            project: Name of the project.

        Raises:
            NotFound: There is no such project.
        """
        declared = self._scope.project(name=project).spec.features
        return [
            DeclaredView(project=project, name=name, **fields(view))
            for name, view in sorted(declared.items())
        ]

    @query()
    def freshness(self, *, project: ProjectName) -> list[ViewFreshness]:
        """Say how old the newest fact of each view is in the online store, beside its objective.

        Args:
            project: Name of the project.

        Raises:
            NotFound: There is no such project.
            Unavailable: The online store does not answer.
        """
        views = self._views(project, Path())
        if not views:
            return []
        store, now = self._open_store(), to_micros(self._clock.now())
        return [
            _freshness(view, store.of(view.stored_as), now) for _, view in sorted(views.items())
        ]

    @command(reads_rows=True)
    def materialise(
        self,
        *,
        project: ProjectName,
        view: str,
        until: datetime | None = None,
        since: datetime | None = None,
    ) -> Materialised:
        """Write the newest fact of each key of a view into the online store.

        Only facts are read that became known since the last time. It may be called again and again;
        a call after one that was interrupted finishes it.

        Args:
            project: Name of the project.
            view: Name of the view.
            until: Facts that were known later are left out; by default the present.
            since: Read the facts that were known from this moment on, whatever was read before.

        Returns:
            What was written.

        Raises:
            NotFound: There is no such project or view, or its source is not there.
            Conflict: The project has no folder on this machine.
            Invalid: The source cannot be read as the view says.
            Unavailable: The online store does not answer.
        """
        from treadle.features.materialising import materialise  # loads DuckDB and numpy

        declared = self._view(project, view, self._scope.folder(name=project))
        self._note_read(project, view, f"feature view {view}, materialised")
        done = materialise(
            declared, self._open_store(), until=until or self._clock.now(), since=since
        )
        if done.keys:
            with self._database.write() as transaction:
                event = FeaturesMaterialised(
                    project=project, view=view, keys=done.keys, until=done.until
                )
                self._events.append(transaction, event)
        return done

    @query()
    def read(
        self, *, project: ProjectName, view: str, keys: list[dict[str, Any]]
    ) -> list[EntityFeatures]:
        """Read the features of some entities as they are stored now.

        Args:
            project: Name of the project.
            view: Name of the view.
            keys: The entities, 10,000 at most: the values of the view's keys, by key.

        Returns:
            One entry for each entity, in order.

        Raises:
            NotFound: There is no such project or view.
            Invalid: An entity lacks a key, or there are too many.
            Unavailable: The online store does not answer.
        """
        from treadle.features.online import OnlineReader  # loads numpy

        declared = self._view(project, view, Path())
        _refuse_many(keys)
        self._note_read(project, view, f"feature view {view}")
        now = to_micros(self._clock.now())
        found = OnlineReader([declared], self._open_store()).read(keys, now)
        return [
            EntityFeatures(key=key, features=one.features, age_seconds=one.age_seconds[view])
            for key, one in zip(keys, found, strict=True)
        ]

    @command()
    def erase(self, *, project: ProjectName, view: str, keys: list[dict[str, Any]]) -> int:
        """Erase the features of some entities from the online store.

        They come back when they are materialised again from a source that still holds them.

        Args:
            project: Name of the project.
            view: Name of the view.
            keys: The entities, 10,000 at most: the values of the view's keys, by key.

        Returns:
            The number of entities whose features were erased.

        Raises:
            NotFound: There is no such project or view.
            Invalid: An entity lacks a key, or there are too many.
            Unavailable: The online store does not answer.
        """
        declared = self._view(project, view, Path())
        _refuse_many(keys)
        texts = texts_of(view, declared.keys, keys)
        erased = self._open_store().delete(declared.stored_as, texts)
        if erased:
            with self._database.write() as transaction:
                event = FeaturesErased(project=project, view=view, keys=erased)
                self._events.append(transaction, event)
        return erased

    def _views(self, project: str, folder: Path) -> "dict[str, FeatureView]":
        from treadle.features.declared import views_of

        return views_of(self._scope.project(name=project).spec, folder)

    def _view(self, project: str, name: str, folder: Path) -> "FeatureView":
        views = self._views(project, folder)
        if name not in views:
            raise NotFound(
                f"Project '{project}' declares no feature view '{name}'.{did_you_mean(name, views)}"
            )
        return views[name]

    def _note_read(self, project: str, view: str, what: str) -> None:
        """Write an event where a view is over a dataset that is declared as sensitive."""
        spec = self._scope.project(name=project).spec
        dataset = spec.data.get(spec.features[view].source)
        if dataset is not None and dataset.sensitive:
            name = spec.features[view].source
            self._reads.note_rows(project, name, what=what, way="features")


def _freshness(view: "FeatureView", stored: StoredView, now: int) -> ViewFreshness:
    """How fresh a view is at a moment."""
    age = None if stored.newest is None else (now - stored.newest) / 1e6
    objective = view.freshness_seconds
    state: Freshness = "no objective"
    if age is None:
        state = "not materialised"
    elif objective is not None:
        state = "ok" if age <= objective else "late"
    return ViewFreshness(
        project=view.project,
        view=view.name,
        rows=stored.rows,
        newest=None if stored.newest is None else from_micros(stored.newest),
        age_seconds=age,
        objective_seconds=objective,
        state=state,
    )


def _refuse_many(keys: list[dict[str, Any]]) -> None:
    if len(keys) > MOST_KEYS:
        raise Invalid(f"A request asks for {MOST_KEYS:,} entities at most, not {len(keys):,}.")
