"""Versions of models: registered, changed, searched and deleted."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from treadle.kernel.clock import to_micros
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict, Forbidden, Invalid, did_you_mean
from treadle.kernel.event import current_act
from treadle.kernel.names import (
    Location,
    LoggedModelId,
    ModelName,
    RunId,
    VerdictId,
)
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight
from treadle.registry.model import (
    ModelVersion,
    PastVersion,
    VersionDeleted,
    VersionRegistered,
    VersionTagged,
)
from treadle.registry.models import MISSING_TAG, Models, check_name
from treadle.registry.records import LAST_NUMBER, versions_of
from treadle.registry.tables import aliases, models, versions
from treadle.tracking.language import Compare, Every, Field, Node, parse
from treadle.tracking.matching import found_in

_versions = versions  # where a parameter has the table's name
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
"""What can be deployed under its name."""


class Versions(Models):
    """Versions of models."""

    @command()
    def register(self, *, verdict: VerdictId, model: ModelName | None = None) -> ModelVersion:
        """Make the next version of a model from a passed verdict.

        Registering the same verdict again gives the version it made.

        Args:
            verdict: Id of a verdict that passed.
            model: Name of the model; the project's name if none is given.

        Raises:
            NotFound: There is no such verdict.
            Forbidden: The verdict did not pass.
            Invalid: It cannot be the name of a model.
            Conflict: The model belongs to another project.
        """
        judged = self._evaluation.get(verdict=verdict)
        if judged.outcome != "passed":
            raise Forbidden(
                f"Verdict '{verdict}' is '{judged.outcome}', so it makes no version: "
                f"{judged.reason}"
            )
        name = model or judged.project
        if not re.fullmatch(NAME, name):
            raise Invalid(
                f"'{name}' cannot name a model: use letters, digits, hyphens, dots and underscores."
            )
        with self._database.write() as transaction:
            same = (versions.c.model == name) & (versions.c.verdict == verdict)
            number = transaction.scalar(select(versions.c.number).where(same))
            owner = transaction.scalar(select(models.c.project).where(models.c.name == name))
            if owner not in (None, judged.project):
                raise Conflict(
                    f"Model '{name}' belongs to project '{owner}', not '{judged.project}'. Choose "
                    "another name."
                )
            if number is None:
                if owner is None:
                    self._ensure_model(transaction, name, judged.project)
                number = self._add_version(
                    transaction,
                    name,
                    judged.project,
                    run=judged.run,
                    package=judged.package,
                    verdict=verdict,
                )
        return self.get(model=name, number=number)

    @command()
    def register_source(
        self,
        *,
        model: ModelName,
        source: Location,
        run: RunId = "",
        logged_model: LoggedModelId = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> ModelVersion:
        """Make the next version of a model from what a client logged somewhere.

        It carries no verdict, so it cannot be deployed.

        Args:
            model: Name of the model.
            source: Where the files are, as a URI.
            run: Id of the run that it comes from.
            logged_model: Id of the logged model that it comes from.
            description: Text that describes it.
            tags: Tags to set, by key.

        Raises:
            NotFound: There is no such model.
        """
        found = self.model(name=model)
        with self._database.write() as transaction:
            facts = {
                "run": run,
                "source": source,
                "logged_model": logged_model,
                "description": description,
            }
            number = self._add_version(transaction, model, found.project, tags=tags or {}, **facts)
        return self.get(model=model, number=number)

    @command()
    def add_history(
        self,
        *,
        name: str,
        description: str,
        tags: dict[str, str],
        pointing: dict[str, int],
        versions: list[PastVersion],
    ) -> int:
        """Take in a model with its versions and aliases from elsewhere.

        What is here already is left alone.

        Args:
            name: Name of the model.
            description: Text that describes it.
            tags: Tags to set, by key.
            pointing: Numbers of versions by alias.
            versions: The versions, each with its own number.

        Returns:
            How many versions came in.

        Raises:
            Invalid: The name is none, or a version's number is out of bounds or there twice.
        """
        check_name(name)
        numbers = [version.number for version in versions]
        if (
            strange := next(
                (n for n in numbers if not 0 < n <= LAST_NUMBER or numbers.count(n) > 1), None
            )
        ) is not None:
            raise Invalid(
                f"Field 'versions': number {strange} is there twice, or is no version's number."
            )
        with self._database.write() as transaction:
            here = models.c.name == name
            if transaction.scalar(select(models.c.name).where(here)) is None:
                self._ensure_model(transaction, name, name, description, tags)
            known = set(
                transaction.scalars(select(_versions.c.number).where(_versions.c.model == name))
            )
            new = [version for version in versions if version.number not in known]
            project = transaction.scalar(select(models.c.project).where(here))
            for version in new:
                facts = {field: getattr(version, field) for field in version.__struct_fields__}
                row = {
                    **facts,
                    "model": name,
                    "project": project,
                    "package": "",
                    "tags": to_text(version.tags),
                }
                transaction.execute(_versions.insert().values(row))
                event = VersionRegistered(
                    model=name,
                    number=version.number,
                    project=str(project),
                    run=version.run,
                    package="",
                    verdict="",
                    source=version.source,
                )
                self._events.append(transaction, event)
            last = (
                transaction.scalar(
                    select(func.max(_versions.c.number)).where(_versions.c.model == name)
                )
                or 0
            )
            transaction.execute(update(models).where(here).values(last_number=last))
            pointed = set(
                transaction.scalars(select(aliases.c.alias).where(aliases.c.model == name))
            )
            for alias, number in pointing.items():
                if number not in known and number not in numbers:
                    raise Invalid(
                        f"Field 'pointing': alias '{alias}' points at version {number}, which is "
                        "not there."
                    )
                if not known and alias not in pointed:
                    transaction.execute(
                        aliases.insert().values(model=name, alias=alias, number=number)
                    )
        return len(new)

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
        names = _wanted_names(parse(filter))
        if names is not None:
            wanted = wanted.where(versions.c.model.in_(names))
        with self._database.read() as connection:
            found = versions_of(connection, connection.execute(wanted).mappings().all())
        return found_in(found, filter, order or [], _seen)

    def _add_version(
        self,
        transaction: Connection,
        model: str,
        project: str,
        *,
        tags: Mapping[str, str] | None = None,
        **facts: str,
    ) -> int:
        """The next version's row and event. Returns its number."""
        here = models.c.name == model
        number = 1 + int(transaction.execute(select(models.c.last_number).where(here)).scalar_one())
        now = self._clock.now()
        transaction.execute(update(models).where(here).values(last_number=number, updated_at=now))
        known = {
            "run": "",
            "package": "",
            "source": "",
            "logged_model": "",
            "description": "",
            **facts,
        }
        row: dict[str, Any] = {
            **known,
            "verdict": facts.get("verdict"),
            "tags": to_text(dict(tags or {})),
        }
        row |= {"model": model, "number": number, "project": project, "stage": "None"}
        row |= {"created_by": current_act().actor, "created_at": now, "updated_at": now}
        transaction.execute(versions.insert().values(row))
        event = VersionRegistered(
            model=model,
            number=number,
            project=project,
            run=known["run"],
            package=known["package"],
            verdict=facts.get("verdict", ""),
            source=known["source"],
        )
        self._events.append(transaction, event)
        return number


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


def _wanted_names(node: Node | None) -> list[str] | None:
    """The only model names that can satisfy a filter, where it says so; None where it does not."""
    if isinstance(node, Every):
        return next((names for names in map(_wanted_names, node.parts) if names is not None), None)
    if isinstance(node, Compare) and node.field.key == "name" and node.operator == "=":
        return [str(node.value)]
    return None
