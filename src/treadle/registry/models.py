"""Registered models: made, searched, renamed and deleted."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict, Forbidden, Invalid, did_you_mean
from treadle.kernel.names import (
    NewModelName,
    ProjectName,
)
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight
from treadle.registry.hooks import STILL_NEEDED_BY
from treadle.registry.model import (
    ModelDeleted,
    ModelRegistered,
    ModelRenamed,
    ModelVersion,
    RegisteredModel,
)
from treadle.registry.records import RegistryRecords, aliases_of, model_of
from treadle.registry.tables import aliases, approvals, models, versions
from treadle.tracking.language import Field
from treadle.tracking.matching import found_in

MODEL_NAME = r"[^/:@\x00-\x1f]{1,200}"
"""What clients may call a model."""
# what differs from every text that a filter compares it with, as upstream's searches take it
MISSING_TAG = ""


class Models(RegistryRecords):
    """Names for versions to come."""

    @command()
    def create_model(
        self,
        *,
        name: NewModelName,
        project: ProjectName = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> RegisteredModel:
        """Make a name for versions to come, in a project of the same name if none is given.

        Args:
            name: Name of the model.
            project: Project that it belongs to; the one of its own name if none is given.
            description: Text that describes it.
            tags: Tags to set, by key.

        Raises:
            Invalid: It cannot be the name of a model.
            Conflict: There is a model of that name.
        """
        check_name(name)
        with self._database.write() as transaction:
            if transaction.scalar(select(models.c.name).where(models.c.name == name)) is not None:
                raise Conflict(f"Model '{name}' already exists.")
            self._ensure_model(transaction, name, project or name, description, tags or {})
        return self.model(name=name)

    @query()
    def models(
        self,
        *,
        filter: str = "",
        order: list[str] | None = None,
        project: ProjectName | None = None,
    ) -> list[RegisteredModel]:
        """Models that satisfy a filter, by name.

        A filter is such as ``name LIKE 'flight%' AND tags.team != 'x'``. A missing tag differs
        from any.

        Args:
            filter: Condition such as `name LIKE 'flight%'`; empty for all.
            order: Fields to sort by, such as `name DESC`.
            project: Only those of this project.

        Raises:
            Invalid: The filter or an order cannot be read.
        """
        wanted = select(models).where(in_sight(models.c.project)).order_by(models.c.name)
        if project is not None:
            wanted = wanted.where(models.c.project == project)
        with self._database.read() as connection:
            rows = connection.execute(wanted).mappings().all()
            pointing = aliases_of(connection, None)
        found = [model_of(row, pointing.get(row["name"], {})) for row in rows]
        return found_in(found, filter, order or [], _looked)

    @command()
    def change_model(
        self,
        *,
        name: NewModelName,
        new_name: str | None = None,
        description: str | None = None,
        tags: dict[str, str | None] | None = None,
    ) -> RegisteredModel:
        """Rename or describe a model, set tags, and remove those given as none.

        Args:
            name: Name of the model.
            new_name: A new name; the old one can be used again.
            description: Text that describes it.
            tags: Tags to set by key; null removes one.

        Raises:
            NotFound: There is no such model.
            Invalid: The new name cannot be the name of a model.
            Conflict: Another model has the new name.
            Forbidden: A version is approved, and an approval signs the model's name.
        """
        found = self.model(name=name)
        kept = {
            key: value for key, value in {**found.tags, **(tags or {})}.items() if value is not None
        }
        values: dict[str, Any] = {"tags": to_text(kept), "updated_at": self._clock.now()}
        if description is not None:
            values["description"] = description
        with self._database.write() as transaction:
            transaction.execute(update(models).where(models.c.name == name).values(values))
            if new_name is not None and new_name != name:
                self._rename(transaction, name, new_name)
        return self.model(name=new_name or name)

    @command()
    def delete_model(self, *, name: NewModelName) -> None:
        """Delete a model with its versions; the name can be used again.

        Refused while a version is deployed.

        Args:
            name: Name of the model.

        Raises:
            NotFound: There is no such model.
            Forbidden: A version is deployed.
        """
        found = self.model(name=name)
        for version in self.find(model=name, limit=100_000):
            self._refuse_held(version)
        with self._database.write() as transaction:
            for table in (versions, aliases, approvals):
                transaction.execute(delete(table).where(table.c.model == name))
            transaction.execute(delete(models).where(models.c.name == name))
            self._events.append(transaction, ModelDeleted(name=name, project=found.project))

    def _ensure_model(
        self,
        transaction: Connection,
        name: str,
        project: str,
        description: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = self._clock.now()
        row = {
            "name": name,
            "project": project[:63],
            "description": description,
            "tags": to_text(dict(tags or {})),
        }
        transaction.execute(
            models.insert().values(**row, last_number=0, created_at=now, updated_at=now)
        )
        self._events.append(transaction, ModelRegistered(name=name, project=project[:63]))

    def _rename(self, transaction: Connection, name: str, new_name: str) -> None:
        if not re.fullmatch(MODEL_NAME, new_name) or not new_name.strip():
            raise Invalid(
                f"Invalid model name: '{new_name}'. Use 1 to 200 characters without '/', ':' and "
                "'@'."
            )
        if transaction.scalar(select(models.c.name).where(models.c.name == new_name)) is not None:
            raise Conflict(f"Model '{new_name}' already exists.")
        signed = transaction.scalar(
            select(func.count()).select_from(approvals).where(approvals.c.model == name)
        )
        if signed:
            raise Forbidden(
                f"Model '{name}' has approved versions, and approvals sign its name. Register a "
                "new model instead."
            )
        for table in (versions, aliases):
            transaction.execute(update(table).where(table.c.model == name).values(model=new_name))
        transaction.execute(update(models).where(models.c.name == name).values(name=new_name))
        self._events.append(
            transaction,
            ModelRenamed(name=new_name, before=name, project=self._project(transaction, new_name)),
        )

    def _refuse_held(self, version: ModelVersion) -> None:
        for asked in self._assembly.answers(STILL_NEEDED_BY):
            needs = asked.method(version.model, version.number)
            if needs is not None:
                raise Forbidden(f"Version '{version.ref}' cannot be deleted: {needs}")


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a model.

    Args:
        name: The name: 1 to 200 characters without '/', ':' and '@', and not only white space.

    Raises:
        Invalid: It is no such name.
    """
    if not re.fullmatch(MODEL_NAME, name) or not name.strip():
        raise Invalid(
            f"Invalid model name: '{name}'. Use 1 to 200 characters without '/', ':' and '@'."
        )


def _looked(model: RegisteredModel, field: Field) -> Any:
    """A field of a model, for filters."""
    if field.kind == "tag":
        return model.tags.get(field.key, MISSING_TAG)
    facts = {"name": model.name, "project": model.project, "description": model.description}
    times = {
        "creation_timestamp": model.created_at,
        "last_updated_timestamp": model.updated_at,
        "timestamp": model.updated_at,
    }
    if field.key in times:
        return to_micros(times[field.key]) // 1000
    if field.kind != "attribute" or field.key not in facts:
        raise Invalid(
            f"A model has no '{field.key}' to search.{did_you_mean(field.key, [*facts, *times])}"
        )
    return facts[field.key]
