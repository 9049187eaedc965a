"""Models and versions as they are stored."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from treadle.evaluation.service import Evaluation
from treadle.events.local import LocalEvents
from treadle.kernel.clock import Clock
from treadle.kernel.entity import from_json
from treadle.kernel.errors import Invalid, NotFound, did_you_mean
from treadle.kernel.keys import KeySource
from treadle.kernel.names import (
    ModelName,
    NewModelName,
    ProjectName,
    VersionRef,
)
from treadle.kernel.operation import query
from treadle.kernel.stage import Assembly
from treadle.ports.blobs import Blobs
from treadle.ports.database import Database, in_sight, load
from treadle.registry.model import (
    CHAMPION,
    Approval,
    ModelVersion,
    RegisteredModel,
)
from treadle.registry.tables import aliases, approvals, models, versions
from treadle.scope.service import Scope

LAST_NUMBER = 2**31 - 1


class RegistryRecords:
    """Looks models and versions up."""

    def __init__(
        self,
        database: Database,
        events: LocalEvents,
        clock: Clock,
        evaluation: Evaluation,
        scope: Scope,
        assembly: Assembly,
        blobs: Blobs,
        keys: KeySource,
    ) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._evaluation, self._scope, self._keys = evaluation, scope, keys
        self._assembly, self._blobs = assembly, blobs

    @query()
    def model(self, *, name: NewModelName) -> RegisteredModel:
        """One model, without its versions.

        Args:
            name: Name of the model.

        Raises:
            NotFound: There is no such model.
        """
        with self._database.read() as connection:
            row = (
                connection.execute(select(models).where(models.c.name == name))
                .mappings()
                .one_or_none()
            )
            if row is None:
                near = did_you_mean(name, _names(connection))
                raise NotFound(f"There is no model '{name}'.{near}")
            return model_of(row, aliases_of(connection, [name]).get(name, {}))

    @query()
    def get(self, *, model: ModelName, number: int) -> ModelVersion:
        """One version with its aliases and its approval.

        Args:
            model: Name of the model.
            number: Number of the version.

        Raises:
            NotFound: There is no such version, or it was deleted.
        """
        with self._database.read() as connection:
            here = (versions.c.model == model) & (
                versions.c.number == min(max(number, -1), LAST_NUMBER)
            )
            row = connection.execute(select(versions).where(here)).mappings().one_or_none()
            if row is None or row["number"] != number or row["deleted_at"] is not None:
                raise NotFound(
                    f"There is no version '{model}:{number}'.{_known(connection, model)}"
                )
            return versions_of(connection, [row])[0]

    @query()
    def find(
        self,
        *,
        model: ModelName | None = None,
        limit: int = 50,
        project: ProjectName | None = None,
    ) -> list[ModelVersion]:
        """Versions, newest first, of one model or project if given.

        Args:
            model: Only those of this model.
            limit: The most versions to return.
            project: Only those of this project.
        """
        wanted = select(versions).where(
            versions.c.deleted_at.is_(None), in_sight(versions.c.project)
        )
        wanted = wanted.order_by(versions.c.created_at.desc(), versions.c.number.desc()).limit(
            limit
        )
        if model:
            wanted = wanted.where(versions.c.model == model)
        if project:
            wanted = wanted.where(versions.c.project == project)
        with self._database.read() as connection:
            return versions_of(connection, connection.execute(wanted).mappings().all())

    @query()
    def resolve(self, *, ref: VersionRef) -> ModelVersion:
        """The version that ``model@alias``, ``model:number`` or ``model`` names.

        A model alone is its champion, else its newest version.

        Args:
            ref: The version, as NAME:NUMBER or NAME@ALIAS.

        Raises:
            Invalid: What follows the colon is no number.
            NotFound: There is no such model, version or alias.
        """
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

    def _project(self, transaction: Connection, model: str) -> str:
        """The project of a model that is there."""
        here = models.c.name == model
        return str(transaction.execute(select(models.c.project).where(here)).scalar_one())

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


def model_of(row: Mapping[Any, Any], pointing: Mapping[str, int]) -> RegisteredModel:
    """Build a model from its row.

    Args:
        row: Row of ``registered_models``, by column name.
        pointing: Numbers of versions by alias.
    """
    return load(
        RegisteredModel, row, tags=from_json(row["tags"], dict[str, str]), aliases=dict(pointing)
    )


def aliases_of(connection: Connection, names: list[str] | None) -> dict[str, dict[str, int]]:
    """The aliases of models.

    Args:
        connection: An open transaction.
        names: Names of the models; None for all.

    Returns:
        Numbers of versions by alias, by the model's name; models without an alias are absent.
    """
    wanted = select(aliases.c.model, aliases.c.alias, aliases.c.number).order_by(aliases.c.alias)
    found: dict[str, dict[str, int]] = {}
    for model, alias, number in connection.execute(
        wanted if names is None else wanted.where(aliases.c.model.in_(names))
    ):
        found.setdefault(model, {})[alias] = number
    return found


def _known(connection: Connection, model: str, *, alias: bool = False) -> str:
    """What to say of what was not found: the near miss of the model, or what it has."""
    here = (versions.c.model == model) & versions.c.deleted_at.is_(None)
    numbers = connection.scalars(select(versions.c.number).where(here)).all()
    if not numbers:
        return did_you_mean(model, _names(connection))
    has = f" It has the versions {', '.join(map(str, sorted(numbers)[-12:]))}"
    return f"{has} and no alias yet." if alias else f"{has}."


def versions_of(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> list[ModelVersion]:
    """Build versions from their rows, with their aliases and approvals.

    Args:
        connection: An open transaction.
        rows: Rows of ``versions``, by column name.

    Returns:
        One version per row, in the order of the rows.
    """
    names = {row["model"] for row in rows}
    pointing: dict[tuple[str, int], list[str]] = {}
    for model, found in aliases_of(connection, list(names)).items():
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


def _names(connection: Connection) -> Sequence[str]:
    """The names of models that may be shown now, of which one may be meant."""
    return connection.scalars(select(models.c.name).where(in_sight(models.c.project))).all()
