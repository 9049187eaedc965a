"""Versions are registered from verdicts, approved by people, and found by alias."""

import hmac
import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from treadle.evaluation.service import Evaluation
from treadle.events.service import Events
from treadle.kernel.clock import Clock
from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Forbidden, Invalid, NotFound, did_you_mean
from treadle.kernel.event import acting, current_act
from treadle.kernel.operation import command, query
from treadle.ports.database import Database, load
from treadle.registry.model import CHAMPION, AliasMoved, Approval, ModelVersion, VersionApproved, VersionRegistered
from treadle.registry.tables import aliases, approvals, versions

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"
LAST_NUMBER = 2**31 - 1


class Registry:
    """Models and their versions."""

    def __init__(self, database: Database, events: Events, clock: Clock, evaluation: Evaluation, key: bytes) -> None:
        self._database, self._events, self._clock = database, events, clock
        self._evaluation, self._key = evaluation, key

    @command()
    def register(self, *, verdict: str, model: str | None = None) -> ModelVersion:
        """Make the next version of a model (named like its project if not given) from a passed verdict.

        Registering the same verdict again gives the version it made.
        """
        judged = self._evaluation.get(verdict=verdict)
        if judged.outcome != "passed":
            raise Forbidden(f"Verdict '{verdict}' is '{judged.outcome}', so it makes no version: {judged.reason}")
        name = model or judged.project
        if not re.fullmatch(NAME, name):
            raise Invalid(f"'{name}' cannot name a model: use letters, digits, hyphens, dots and underscores.")
        with self._database.write() as transaction:
            same = (versions.c.model == name) & (versions.c.verdict == verdict)
            number = transaction.scalar(select(versions.c.number).where(same))
            owner = transaction.scalar(select(versions.c.project).where(versions.c.model == name).limit(1))
            if owner not in (None, judged.project):
                raise Conflict(
                    f"Model '{name}' belongs to project '{owner}', not '{judged.project}'. Choose another name."
                )
            if number is None:
                last = transaction.scalar(select(func.max(versions.c.number)).where(versions.c.model == name))
                number = (last or 0) + 1
                facts = {"model": name, "number": number, "run": judged.run, "package": judged.package}
                row = {**facts, "project": judged.project, "verdict": verdict, "created_at": self._clock.now()}
                transaction.execute(versions.insert().values(row))
                event = VersionRegistered(
                    model=name, number=number, run=judged.run, package=judged.package, verdict=verdict
                )
                self._events.append(transaction, event)
        return self.get(model=name, number=number)

    @command(role="approver")
    def approve(self, *, model: str, number: int, comment: str = "") -> ModelVersion:
        """Sign a version for production, on the evidence of its verdict. A signature is given once."""
        found = self.get(model=model, number=number)
        if found.approval is not None and self.verify_approval(model=model, number=number):
            raise Conflict(f"Version '{found.ref}' was approved already, by {found.approval.by}.")
        by, at = current_act().actor, self._clock.now()
        facts = {"model": model, "number": number, "package": found.package, "verdict": found.verdict}
        signed = {**facts, "by": by, "at": at, "comment": comment}
        signature = self._sign(signed)
        registered = self._events.made(thing=f"version:{found.ref}")
        with self._database.write() as transaction:
            here = (approvals.c.model == model) & (approvals.c.number == number)
            transaction.execute(approvals.delete().where(here))  # one whose signature does not fit is worth nothing
            transaction.execute(approvals.insert().values(**signed, signature=signature))
            event = VersionApproved(
                model=model, number=number, verdict=found.verdict, comment=comment, signature=signature
            )
            with acting(cause=registered.number if registered else None):
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @command()
    def set_alias(self, *, model: str, alias: str, number: int) -> ModelVersion:
        """Point an alias at a version. Pointing it there again changes nothing."""
        self.get(model=model, number=number)
        here = (aliases.c.model == model) & (aliases.c.alias == alias)
        with self._database.write() as transaction:
            before = transaction.scalar(select(aliases.c.number).where(here))
            if before != number:
                transaction.execute(aliases.delete().where(here))
                transaction.execute(aliases.insert().values(model=model, alias=alias, number=number))
                event = AliasMoved(model=model, alias=alias, number=number, before=before)
                self._events.append(transaction, event)
        return self.get(model=model, number=number)

    @query()
    def get(self, *, model: str, number: int) -> ModelVersion:
        """One version with its aliases and its approval."""
        with self._database.read() as connection:
            here = (versions.c.model == model) & (versions.c.number == min(max(number, -1), LAST_NUMBER))
            row = connection.execute(select(versions).where(here)).mappings().one_or_none()
            if row is None or row["number"] != number:
                raise NotFound(f"There is no version '{model}:{number}'.{_known(connection, model)}")
            return _version(connection, row)

    @query()
    def find(self, *, model: str | None = None, limit: int = 50) -> list[ModelVersion]:
        """Versions, newest first, of one model if given."""
        wanted = select(versions).order_by(versions.c.created_at.desc(), versions.c.number.desc()).limit(limit)
        if model:
            wanted = wanted.where(versions.c.model == model)
        with self._database.read() as connection:
            return [_version(connection, row) for row in connection.execute(wanted).mappings().all()]

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
        facts = {"model": model, "number": number, "package": version.package, "verdict": version.verdict}
        same = (version.approval.package, version.approval.verdict) == (version.package, version.verdict)
        return same and hmac.compare_digest(self._sign({**facts, **said}), version.approval.signature)

    def _aliased(self, model: str, alias: str) -> ModelVersion:
        with self._database.read() as connection:
            rows = connection.execute(select(aliases.c.alias, aliases.c.number).where(aliases.c.model == model))
            numbers = {name: number for name, number in rows}  # noqa: C416
            if alias not in numbers:
                hint = did_you_mean(alias, numbers) or _known(connection, model, alias=True)
                raise NotFound(f"Model '{model}' has no alias '{alias}'.{hint}")
        return self.get(model=model, number=numbers[alias])

    def _sign(self, facts: Mapping[str, Any]) -> str:
        return hmac.new(self._key, to_json(dict(facts)), "sha256").hexdigest()


def _known(connection: Connection, model: str, *, alias: bool = False) -> str:
    """What to say after something was not found: the near miss of the model, or what the model has."""
    numbers = connection.scalars(select(versions.c.number).where(versions.c.model == model)).all()
    if not numbers:
        return did_you_mean(model, connection.scalars(select(versions.c.model).distinct()).all())
    has = f" It has the versions {', '.join(map(str, sorted(numbers)[-12:]))}"
    return f"{has} and no alias yet." if alias else f"{has}."


def _version(connection: Connection, row: Mapping[Any, Any]) -> ModelVersion:
    mine = (aliases.c.model == row["model"]) & (aliases.c.number == row["number"])
    names = connection.scalars(select(aliases.c.alias).where(mine).order_by(aliases.c.alias)).all()
    signed = (approvals.c.model == row["model"]) & (approvals.c.number == row["number"])
    approval = connection.execute(select(approvals).where(signed)).mappings().one_or_none()
    return load(
        ModelVersion, row, aliases=list(names), approval=load(Approval, approval) if approval is not None else None
    )
