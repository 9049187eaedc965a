"""The ways in which versions of models come to be."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select, update

from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound
from treadle.kernel.event import current_act
from treadle.kernel.names import (
    ContentDigest,
    Location,
    LoggedModelId,
    ModelName,
    NewModelName,
    ProjectName,
    RunId,
    VerdictId,
)
from treadle.kernel.operation import command
from treadle.ports.runtime import SIGNATURE
from treadle.ports.tree import read_tree
from treadle.registry.model import (
    ModelVersion,
    PastVersion,
    VersionPackaged,
    VersionRegistered,
)
from treadle.registry.models import Models, check_name
from treadle.registry.records import LAST_NUMBER
from treadle.registry.tables import aliases, models, versions

_versions = versions  # where a parameter has the table's name
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
"""What can be deployed under its name."""


class Registering(Models):
    """Registers versions."""

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
    def register_package(
        self,
        *,
        model: NewModelName,
        package: ContentDigest,
        project: ProjectName = "",
        source: str = "",
        run: RunId = "",
        logged_model: LoggedModelId = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> ModelVersion:
        """Make the next version of a model from a stored model folder that was made elsewhere.

        It carries no verdict. It is approved, deployed, served and monitored like any other.

        Args:
            model: Name of the model; it is made if there is none.
            package: Digest of the stored model folder, 64 hex digits.
            project: Project that a new model belongs to; the one of its own name if none is given.
            source: Where the folder comes from, in words or as a URI.
            run: Id of the run that it comes from.
            logged_model: Id of the logged model that it comes from.
            description: Text that describes it.
            tags: Tags to set, by key.

        Raises:
            NotFound: No model folder of that digest is stored.
            Invalid: It cannot be the name of a model.
            Conflict: The model belongs to another project.
        """
        if not re.fullmatch(NAME, model):
            raise Invalid(
                f"'{model}' cannot name a model: use letters, digits, hyphens, dots and "
                "underscores."
            )
        self._refuse_no_model_folder(package)
        with self._database.write() as transaction:
            owner = transaction.scalar(select(models.c.project).where(models.c.name == model))
            if owner is None:
                self._ensure_model(transaction, model, project or model)
                owner = project or model
            if project and owner != project:
                raise Conflict(
                    f"Model '{model}' belongs to project '{owner}', not '{project}'. Choose "
                    "another name."
                )
            facts = {"run": run, "source": source, "logged_model": logged_model}
            number = self._add_version(
                transaction,
                model,
                owner,
                tags=tags or {},
                package=package,
                description=description,
                **facts,
            )
        return self.get(model=model, number=number)

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

        It carries no verdict, and no package before one is added to it.

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
    def add_package(self, *, model: ModelName, number: int, package: ContentDigest) -> ModelVersion:
        """Give a version that was registered by its source the model folder made of that source.

        Then it is approved, deployed, served and monitored like any other. A version has one
        package for good; giving it the same one again changes nothing.

        Args:
            model: Name of the model.
            number: Number of the version.
            package: Digest of the stored model folder, 64 hex digits.

        Raises:
            NotFound: There is no such version, or no model folder of that digest is stored.
            Conflict: The version has another package.
            Forbidden: The version is approved, and does not change any more.
        """
        found = self.get(model=model, number=number)
        if found.package == package:
            return found
        if found.approval is not None:
            raise Forbidden(
                f"Version '{found.ref}' was approved by {found.approval.by} as it is, and does "
                "not change any more. Register it once more, and approve that version."
            )
        self._refuse_no_model_folder(package)
        here = (versions.c.model == model) & (versions.c.number == number)
        values = {"package": package, "updated_at": self._clock.now()}
        with self._database.write() as transaction:
            empty = here & (versions.c.package == "")
            if not transaction.execute(update(versions).where(empty).values(values)).rowcount:
                raise Conflict(f"Version '{found.ref}' has a package already, for good.")
            event = VersionPackaged(
                model=model, number=number, project=found.project, package=package
            )
            self._events.append(transaction, event)
        return self.get(model=model, number=number)

    def _refuse_no_model_folder(self, package: str) -> None:
        if SIGNATURE not in read_tree(self._blobs, package).files:
            raise NotFound(f"Content {package[:12]} is no model folder: it has no '{SIGNATURE}'.")

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
