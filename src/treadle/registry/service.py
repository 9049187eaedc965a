"""Versions are registered from verdicts, approved by people, and found by alias."""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from treadle.evaluation.service import Evaluation
from treadle.events.service import Events
from treadle.kernel.clock import Clock, to_micros
from treadle.kernel.entity import from_json, to_json, to_text
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound, did_you_mean
from treadle.kernel.event import acting, current_act
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.registry.model import (
    CHAMPION,
    AliasMoved,
    AliasRemoved,
    Approval,
    ModelDeleted,
    ModelRegistered,
    ModelRenamed,
    ModelVersion,
    PastVersion,
    RegisteredModel,
    Stage,
    StageChanged,
    VersionApproved,
    VersionDeleted,
    VersionRegistered,
    VersionTagged,
)
from treadle.registry.tables import aliases, approvals, models, versions
from treadle.tracking.language import Compare, Every, Field, Node, found_in, parse

_versions = versions  # where a parameter has the table's name
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
"""What can be deployed under its name."""
MODEL_NAME = r"[^/:@\x00-\x1f]{1,200}"
"""What clients may call a model."""
LAST_NUMBER = 2**31 - 1


class Registry:
    """Models and their versions."""

    def __init__(
        self, database: Database, events: Events, clock: Clock, evaluation: Evaluation, key: bytes
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._evaluation, self._key = evaluation, key
        self.blockers: list[Callable[[str, int], str | None]] = []
        """Asked before a version goes away: who still needs it, as a sentence, or None."""

    @command()
    def register(self, *, verdict: str, model: str | None = None) -> ModelVersion:
        """Make the next version of a model (named like its project if not given) from a passed verdict.

        Registering the same verdict again gives the version it made.
        """
        judged = self._evaluation.get(verdict=verdict)
        if judged.outcome != "passed":
            raise Forbidden(
                f"Verdict '{verdict}' is '{judged.outcome}', so it makes no version: {judged.reason}"
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
                    f"Model '{name}' belongs to project '{owner}', not '{judged.project}'. Choose another name."
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

    @command(role="approver")
    def approve(self, *, model: str, number: int, comment: str = "") -> ModelVersion:
        """Sign a version for production, on the evidence of its verdict. A signature is given once."""
        found = self.get(model=model, number=number)
        if found.approval is not None and self.verify_approval(model=model, number=number):
            raise Conflict(f"Version '{found.ref}' was approved already, by {found.approval.by}.")
        by, at = current_act().actor, self._clock.now()
        said = {"by": by, "at": at, "comment": comment}
        signature = self._sign({**_content(found), **said})
        signed = {
            **said,
            "model": model,
            "number": number,
            "package": found.package,
            "verdict": found.verdict,
        }
        registered = self._events.made(thing=f"version:{found.ref}")
        with self._database.write() as transaction:
            here = (approvals.c.model == model) & (approvals.c.number == number)
            transaction.execute(
                approvals.delete().where(here)
            )  # one whose signature does not fit is worth nothing
            transaction.execute(approvals.insert().values(**signed, signature=signature))
            event = VersionApproved(
                model=model,
                number=number,
                project=found.project,
                verdict=found.verdict,
                comment=comment,
                signature=signature,
            )
            with acting(cause=registered.number if registered else None):
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @command()
    def create_model(
        self,
        *,
        name: str,
        project: str = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> RegisteredModel:
        """Make a name for versions to come, in a project of the same name if none is given."""
        _check_name(name)
        with self._database.write() as transaction:
            if transaction.scalar(select(models.c.name).where(models.c.name == name)) is not None:
                raise Conflict(f"Registered Model (name={name}) already exists.")
            self._ensure_model(transaction, name, project or name, description, tags or {})
        return self.model(name=name)

    @command()
    def register_source(
        self,
        *,
        model: str,
        source: str,
        run: str = "",
        logged_model: str = "",
        description: str = "",
        tags: dict[str, str] | None = None,
    ) -> ModelVersion:
        """Make the next version of a model from what a client logged somewhere. It carries no verdict, so it cannot be deployed."""
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
        """Take in a model with its versions and aliases from elsewhere; what is here already is left alone. Returns how many versions came."""
        _check_name(name)
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
                        f"Field 'pointing': alias '{alias}' points at version {number}, which is not there."
                    )
                if not known and alias not in pointed:
                    transaction.execute(
                        aliases.insert().values(model=name, alias=alias, number=number)
                    )
        return len(new)

    @query()
    def model(self, *, name: str) -> RegisteredModel:
        """One model, without its versions."""
        with self._database.read() as connection:
            row = (
                connection.execute(select(models).where(models.c.name == name))
                .mappings()
                .one_or_none()
            )
            if row is None:
                near = did_you_mean(name, connection.scalars(select(models.c.name)).all())
                raise NotFound(f"There is no model '{name}'.{near}")
            return _model(row, _aliases_of(connection, [name]).get(name, {}))

    @query()
    def models(
        self, *, filter: str = "", order: list[str] | None = None, project: str | None = None
    ) -> list[RegisteredModel]:
        """Models that satisfy a filter such as ``name LIKE 'flight%' AND tags.team != 'x'``, by name. A missing tag differs from any."""
        wanted = select(models).order_by(models.c.name)
        if project is not None:
            wanted = wanted.where(models.c.project == project)
        with self._database.read() as connection:
            rows = connection.execute(wanted).mappings().all()
            pointing = _aliases_of(connection, None)
        found = [_model(row, pointing.get(row["name"], {})) for row in rows]
        return found_in(found, filter, order or [], _looked)

    @command()
    def change_model(
        self,
        *,
        name: str,
        new_name: str | None = None,
        description: str | None = None,
        tags: dict[str, str | None] | None = None,
    ) -> RegisteredModel:
        """Rename or describe a model, set tags, and remove those given as none."""
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
    def delete_model(self, *, name: str) -> None:
        """Delete a model with its versions; the name can be used again. Refused while a version is deployed."""
        found = self.model(name=name)
        for version in self.find(model=name, limit=100_000):
            self._refuse_held(version)
        with self._database.write() as transaction:
            for table in (versions, aliases, approvals):
                transaction.execute(delete(table).where(table.c.model == name))
            transaction.execute(delete(models).where(models.c.name == name))
            self._events.append(transaction, ModelDeleted(name=name, project=found.project))

    @command()
    def change_version(
        self,
        *,
        model: str,
        number: int,
        description: str | None = None,
        tags: dict[str, str | None] | None = None,
    ) -> ModelVersion:
        """Describe a version, set tags, and remove those given as none. An approved version does not change any more."""
        found = self.get(model=model, number=number)
        if found.approval is not None:
            raise Forbidden(
                f"Version '{found.ref}' was approved by {found.approval.by}, and does not change any more."
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
                event = VersionTagged(
                    model=model, number=number, project=found.project, key=key, value=value
                )
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @command()
    def set_stage(
        self, *, model: str, number: int, stage: Stage, archive_others: bool = False
    ) -> ModelVersion:
        """Put a version into a stage, as old clients do; others in that stage are archived if asked for."""
        found = self.get(model=model, number=number)
        with self._database.write() as transaction:
            now = self._clock.now()
            mine = (versions.c.model == model) & versions.c.deleted_at.is_(None)
            if archive_others:
                others = mine & (versions.c.stage == stage) & (versions.c.number != number)
                transaction.execute(
                    update(versions).where(others).values(stage="Archived", updated_at=now)
                )
            here = mine & (versions.c.number == number)
            transaction.execute(update(versions).where(here).values(stage=stage, updated_at=now))
            if found.stage != stage:
                event = StageChanged(
                    model=model,
                    number=number,
                    project=found.project,
                    stage=stage,
                    before=found.stage,
                )
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @command()
    def delete_version(self, *, model: str, number: int, erase: bool = False) -> None:
        """Put a version away; its number is never given again. Refused while it is deployed. ``erase`` leaves no row of it."""
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

    @command()
    def remove_alias(self, *, model: str, alias: str) -> None:
        """Take an alias away. ImportSession away one that is not there changes nothing."""
        here = (aliases.c.model == model) & (aliases.c.alias == alias)
        with self._database.write() as transaction:
            number = transaction.scalar(select(aliases.c.number).where(here))
            if number is not None:
                transaction.execute(delete(aliases).where(here))
                event = AliasRemoved(
                    model=model,
                    alias=alias,
                    project=self._project(transaction, model),
                    number=number,
                )
                self._events.append(transaction, event)

    @query()
    def search(self, *, filter: str = "", order: list[str] | None = None) -> list[ModelVersion]:
        """Versions that satisfy a filter such as ``name = 'flight-delay' AND tags.team = 'x'``, the last changed first."""
        wanted = select(versions).where(versions.c.deleted_at.is_(None))
        wanted = wanted.order_by(
            versions.c.updated_at.desc(), versions.c.model, versions.c.number.desc()
        )
        names = _wanted_names(parse(filter))
        if names is not None:
            wanted = wanted.where(versions.c.model.in_(names))
        with self._database.read() as connection:
            found = _loaded(connection, connection.execute(wanted).mappings().all())
        return found_in(found, filter, order or [], _seen)

    @command()
    def set_alias(self, *, model: str, alias: str, number: int) -> ModelVersion:
        """Point an alias at a version. Pointing it there again changes nothing."""
        found = self.get(model=model, number=number)
        here = (aliases.c.model == model) & (aliases.c.alias == alias)
        with self._database.write() as transaction:
            before = transaction.scalar(select(aliases.c.number).where(here))
            if before != number:
                transaction.execute(aliases.delete().where(here))
                transaction.execute(
                    aliases.insert().values(model=model, alias=alias, number=number)
                )
                event = AliasMoved(
                    model=model, alias=alias, project=found.project, number=number, before=before
                )
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @query()
    def get(self, *, model: str, number: int) -> ModelVersion:
        """One version with its aliases and its approval."""
        with self._database.read() as connection:
            here = (versions.c.model == model) & (
                versions.c.number == min(max(number, -1), LAST_NUMBER)
            )
            row = connection.execute(select(versions).where(here)).mappings().one_or_none()
            if row is None or row["number"] != number or row["deleted_at"] is not None:
                raise NotFound(
                    f"There is no version '{model}:{number}'.{_known(connection, model)}"
                )
            return _loaded(connection, [row])[0]

    @query()
    def find(self, *, model: str | None = None, limit: int = 50) -> list[ModelVersion]:
        """Versions, newest first, of one model if given."""
        wanted = select(versions).where(versions.c.deleted_at.is_(None))
        wanted = wanted.order_by(versions.c.created_at.desc(), versions.c.number.desc()).limit(
            limit
        )
        if model:
            wanted = wanted.where(versions.c.model == model)
        with self._database.read() as connection:
            return _loaded(connection, connection.execute(wanted).mappings().all())

    @query()
    def resolve(self, *, ref: str) -> ModelVersion:
        """The version that ``model@alias``, ``model:number`` or ``model`` (its champion, else its newest) names."""
        if "@" in ref:
            model, _, alias = ref.partition("@")
            return self._aliased(model, alias)
        model, _, number = ref.partition(":")
        if number:
            if not (number.isascii() and number.isdecimal()):
                raise Invalid(f"'{ref}' names no version. Write NAME:NUMBER or NAME@ALIAS.")
            return self.get(model=model, number=int(number))
        newest = self.find(model=model, limit=1)
        if not newest:
            with self._database.read() as connection:
                raise NotFound(f"There is no model '{model}'.{_known(connection, model)}")
        with self._database.read() as connection:
            here = (aliases.c.model == model) & (aliases.c.alias == CHAMPION)
            champion = connection.scalar(select(aliases.c.number).where(here))
        return newest[0] if champion is None else self.get(model=model, number=champion)

    @query()
    def verify_approval(self, *, model: str, number: int) -> bool:
        """Whether a version's approval is there, and its signature fits the version as it is now."""
        version = self.get(model=model, number=number)
        if version.approval is None:
            return False
        said = {name: getattr(version.approval, name) for name in ("by", "at", "comment")}
        same = (version.approval.package, version.approval.verdict) == (
            version.package,
            version.verdict,
        )
        return same and hmac.compare_digest(
            self._sign({**_content(version), **said}), version.approval.signature
        )

    def approved_from(self, *, run: str, logged_model: str) -> str | None:
        """The version, if any, that somebody approved and whose files are those of a run or a logged model."""
        same = (versions.c.model == approvals.c.model) & (versions.c.number == approvals.c.number)
        wanted = (
            select(versions.c.model, versions.c.number)
            .join(approvals, same)
            .where(versions.c.deleted_at.is_(None))
        )
        theirs = versions.c.logged_model == logged_model if logged_model else versions.c.run == run
        sourced = versions.c.source != ""
        with self._database.read() as connection:
            found = connection.execute(wanted.where(theirs, sourced).limit(1)).one_or_none()
        return None if found is None else f"{found.model}:{found.number}"

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

    def _rename(self, transaction: Connection, name: str, new_name: str) -> None:
        if not re.fullmatch(MODEL_NAME, new_name) or not new_name.strip():
            raise Invalid(
                f"Invalid model name: '{new_name}'. Use 1 to 200 characters without '/', ':' and '@'."
            )
        if transaction.scalar(select(models.c.name).where(models.c.name == new_name)) is not None:
            raise Conflict(f"Registered Model (name={new_name}) already exists.")
        signed = transaction.scalar(
            select(func.count()).select_from(approvals).where(approvals.c.model == name)
        )
        if signed:
            raise Forbidden(
                f"Model '{name}' has approved versions, and approvals sign its name. Register a new model instead."
            )
        for table in (versions, aliases):
            transaction.execute(update(table).where(table.c.model == name).values(model=new_name))
        transaction.execute(update(models).where(models.c.name == name).values(name=new_name))
        event = ModelRenamed(
            name=new_name, before=name, project=self._project(transaction, new_name)
        )
        self._events.append(transaction, event)

    def _project(self, transaction: Connection, model: str) -> str:
        """The project of a model that is there."""
        here = models.c.name == model
        return str(transaction.execute(select(models.c.project).where(here)).scalar_one())

    def _refuse_held(self, version: ModelVersion) -> None:
        for holder in self.blockers:
            needs = holder(version.model, version.number)
            if needs is not None:
                raise Forbidden(f"Version '{version.ref}' cannot be deleted: {needs}")

    def _aliased(self, model: str, alias: str) -> ModelVersion:
        with self._database.read() as connection:
            rows = connection.execute(
                select(aliases.c.alias, aliases.c.number).where(aliases.c.model == model)
            )
            numbers = {name: number for name, number in rows}  # noqa: C416
            if alias not in numbers:
                hint = did_you_mean(alias, numbers) or _known(connection, model, alias=True)
                raise NotFound(f"Model '{model}' has no alias '{alias}'.{hint}")
        return self.get(model=model, number=numbers[alias])

    def _sign(self, facts: Mapping[str, Any]) -> str:
        return hmac.new(self._key, to_json(dict(facts)), "sha256").hexdigest()


def _check_name(name: str) -> None:
    if not re.fullmatch(MODEL_NAME, name) or not name.strip():
        raise Invalid(
            f"Invalid model name: '{name}'. Use 1 to 200 characters without '/', ':' and '@'."
        )


def _known(connection: Connection, model: str, *, alias: bool = False) -> str:
    """What to say after something was not found: the near miss of the model, or what the model has."""
    here = (versions.c.model == model) & versions.c.deleted_at.is_(None)
    numbers = connection.scalars(select(versions.c.number).where(here)).all()
    if not numbers:
        return did_you_mean(model, connection.scalars(select(models.c.name)).all())
    has = f" It has the versions {', '.join(map(str, sorted(numbers)[-12:]))}"
    return f"{has} and no alias yet." if alias else f"{has}."


def _content(version: ModelVersion) -> dict[str, Any]:
    """What an approval signs of a version: all that says which model it is, and the evidence."""
    facts = {
        "model": version.model,
        "number": version.number,
        "package": version.package,
        "verdict": version.verdict,
    }
    return facts | ({"source": version.source, "run": version.run} if version.source else {})


def _model(row: Mapping[Any, Any], pointing: Mapping[str, int]) -> RegisteredModel:
    return load(
        RegisteredModel, row, tags=from_json(row["tags"], dict[str, str]), aliases=dict(pointing)
    )


def _aliases_of(connection: Connection, names: list[str] | None) -> dict[str, dict[str, int]]:
    wanted = select(aliases.c.model, aliases.c.alias, aliases.c.number).order_by(aliases.c.alias)
    found: dict[str, dict[str, int]] = {}
    for model, alias, number in connection.execute(
        wanted if names is None else wanted.where(aliases.c.model.in_(names))
    ):
        found.setdefault(model, {})[alias] = number
    return found


_MISSING_TAG = ""  # what differs from every text that a filter compares it with, as upstream's searches take it


def _looked(model: RegisteredModel, field: Field) -> Any:
    """A field of a model, for filters."""
    if field.kind == "tag":
        return model.tags.get(field.key, _MISSING_TAG)
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


def _seen(version: ModelVersion, field: Field) -> Any:
    """A field of a version, for filters."""
    if field.kind == "tag":
        return version.tags.get(field.key, _MISSING_TAG)
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


def _loaded(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> list[ModelVersion]:
    """Rows of versions with their aliases and approvals."""
    names = {row["model"] for row in rows}
    pointing: dict[tuple[str, int], list[str]] = {}
    for model, found in _aliases_of(connection, list(names)).items():
        for alias, number in found.items():
            pointing.setdefault((model, number), []).append(alias)
    signed = connection.execute(select(approvals).where(approvals.c.model.in_(names))).mappings()
    approved = {(row["model"], row["number"]): load(Approval, row) for row in signed}
    return [
        load(
            ModelVersion,
            row,
            aliases=pointing.get((row["model"], row["number"]), []),
            approval=approved.get((row["model"], row["number"])),
            tags=from_json(row["tags"], dict[str, str]),
            verdict=row["verdict"] or "",
        )
        for row in rows
    ]
