"""Versions of models: changed, searched and deleted."""

from typing import Any

from sqlalchemy import delete, select, update

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Forbidden, Invalid, did_you_mean
from treadle.kernel.names import ModelName
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight
from treadle.registry.model import (
    ModelVersion,
    VersionDeleted,
    VersionTagged,
)
from treadle.registry.models import MISSING_TAG
from treadle.registry.records import versions_of
from treadle.registry.registering import Registering
from treadle.registry.tables import aliases, versions
from treadle.tracking.language import Field, parse
from treadle.tracking.matching import equalities, found_in

_TEXTS = {
    "name": versions.c.model,
    "run_id": versions.c.run,
    "model_id": versions.c.logged_model,
    "project": versions.c.project,
}
"""Attributes that filters compare as the database has them."""


class Versions(Registering):
    """Versions of models."""

    @command()
    def change_version(
        self,
        *,
        model: ModelName,
        number: int,
        description: str | None = None,
        tags: dict[str, str | None] | None = None,
    ) -> ModelVersion:
        """Describe a version, set tags, and remove those given as none.

        An approved version does not change any more.

        Args:
            model: Name of the model.
            number: Number of the version.
            description: Text that describes it.
            tags: Tags to set by key; null removes one.

        Raises:
            NotFound: There is no such version.
            Forbidden: The version is approved.
        """
        found = self.get(model=model, number=number)
        if found.approval is not None:
            raise Forbidden(
                f"Version '{found.ref}' was approved by {found.approval.by}, and does not change "
                "any more."
            )
        kept = {
            key: value for key, value in {**found.tags, **(tags or {})}.items() if value is not None
        }
        values: dict[str, Any] = {"tags": to_text(kept), "updated_at": self._clock.now()}
        if description is not None:
            values["description"] = description
        here = (versions.c.model == model) & (versions.c.number == number)
        with self._database.write() as transaction:
            transaction.execute(update(versions).where(here).values(values))
            for key, value in (tags or {}).items():
                self._events.append(
                    transaction,
                    VersionTagged(
                        model=model, number=number, project=found.project, key=key, value=value
                    ),
                )
        return self.get(model=model, number=number)

    @command()
    def delete_version(self, *, model: ModelName, number: int, erase: bool = False) -> None:
        """Put a version away; its number is never given again.

        Refused while it is deployed. ``erase`` leaves no row of it.

        Args:
            model: Name of the model.
            number: Number of the version.
            erase: Whether to remove it for good instead of marking it as deleted.

        Raises:
            NotFound: There is no such version.
            Forbidden: The version is deployed.
        """
        found = self.get(model=model, number=number)
        self._refuse_held(found)
        with self._database.write() as transaction:
            here = (versions.c.model == model) & (versions.c.number == number)
            pointing = (aliases.c.model == model) & (aliases.c.number == number)
            transaction.execute(delete(aliases).where(pointing))
            if erase:
                transaction.execute(delete(versions).where(here))
            else:
                transaction.execute(
                    update(versions).where(here).values(deleted_at=self._clock.now())
                )
            self._events.append(
                transaction,
                VersionDeleted(model=model, number=number, project=found.project, erased=erase),
            )

    @query()
    def search(self, *, filter: str = "", order: list[str] | None = None) -> list[ModelVersion]:
        """Versions that satisfy a filter, the last changed first.

        A filter is such as ``name = 'flight-delay' AND tags.team = 'x'``.

        Args:
            filter: Condition such as `name LIKE 'flight%'`; empty for all.
            order: Fields to sort by, such as `name DESC`.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        wanted = select(versions).where(
            versions.c.deleted_at.is_(None), in_sight(versions.c.project)
        )
        wanted = wanted.order_by(
            versions.c.updated_at.desc(), versions.c.model, versions.c.number.desc()
        )
        for attribute, text in equalities(parse(filter)).items():
            if attribute in _TEXTS:
                wanted = wanted.where(_TEXTS[attribute] == text)
        with self._database.read() as connection:
            found = versions_of(connection, connection.execute(wanted).mappings().all())
        return found_in(found, filter, order or [], _seen)


def _seen(version: ModelVersion, field: Field) -> Any:
    """A field of a version, for filters."""
    if field.kind == "tag":
        return version.tags.get(field.key, MISSING_TAG)
    facts: dict[str, Any] = {
        "name": version.model,
        "version_number": version.number,
        "version": version.number,
        "run_id": version.run,
        "source_path": version.source,
        "source": version.source,
        "model_id": version.logged_model,
        "stage": version.stage,
        "current_stage": version.stage,
        "project": version.project,
        "creation_timestamp": to_micros(version.created_at) // 1000,
        "last_updated_timestamp": to_micros(version.updated_at or version.created_at) // 1000,
    }
    if field.kind != "attribute" or field.key not in facts:
        raise Invalid(f"A version has no '{field.key}' to search.{did_you_mean(field.key, facts)}")
    return facts[field.key]
