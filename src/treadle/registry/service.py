"""Versions are registered from verdicts, approved by people, and found by alias."""

import hmac
import sys
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select, update

from treadle.kernel.entity import to_json
from treadle.kernel.errors import Conflict, Forbidden, NotFound
from treadle.kernel.escaping import shell
from treadle.kernel.event import Event, acting, current_act
from treadle.kernel.names import ModelName, ProjectName
from treadle.kernel.operation import command, query
from treadle.ports.database import in_sight
from treadle.registry.model import (
    CHAMPION,
    AliasMoved,
    AliasRemoved,
    Approval,
    ApprovedVersion,
    ChampionNamed,
    ModelVersion,
    Stage,
    StageChanged,
    VersionApproved,
)
from treadle.registry.records import versions_of
from treadle.registry.tables import aliases, approvals, versions
from treadle.registry.versions import Versions


class Registry(Versions):
    """Models and their versions."""

    @command(role="approver")
    def approve(self, *, model: ModelName, number: int, comment: str = "") -> ModelVersion:
        """Sign a version for production, on the evidence of its verdict.

        A signature is given once.

        Args:
            model: Name of the model.
            number: Number of the version.
            comment: What the signature is given on.

        Raises:
            NotFound: There is no such version.
            Conflict: The version was approved already.
        """
        found = self.get(model=model, number=number)
        if found.approval is not None and self.verify_approval(model=model, number=number):
            raise Conflict(f"Version '{found.ref}' was approved already, by {found.approval.by}.")
        by, at = current_act().actor, self._clock.now()
        said = {"by": by, "at": at, "comment": comment}
        facts = {**_content(found), **said}
        signed = {
            **said,
            "model": model,
            "number": number,
            "package": found.package,
            "verdict": found.verdict,
        }
        registered = self._events.made(thing=f"version:{found.ref}")
        with self._database.write() as transaction:
            # Signed here: keys are rotated in a transaction too, so none is retired meanwhile.
            signature = self._keys().sign(lambda secret: _digest(facts, secret))
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

    @query()
    def approvals(
        self, *, project: ProjectName | None = None, limit: int = 50
    ) -> list[ApprovedVersion]:
        """List the approvals of versions that are there, newest first, and verify each.

        Args:
            project: List only approvals in this project; all projects if omitted.
            limit: Largest number of approvals to list.
        """
        same = (versions.c.model == approvals.c.model) & (versions.c.number == approvals.c.number)
        here = versions.c.deleted_at.is_(None), in_sight(versions.c.project)
        wanted = select(versions).join(approvals, same).where(*here)
        if project:
            wanted = wanted.where(versions.c.project == project)
        newest = approvals.c.at.desc(), versions.c.model, versions.c.number.desc()
        wanted = wanted.order_by(*newest).limit(max(0, limit))
        with self._database.read() as connection:
            found = versions_of(connection, connection.execute(wanted).mappings().all())
        return [
            ApprovedVersion(
                model=one.model,
                number=one.number,
                project=one.project,
                approval=one.approval,
                fits=not self._fault(one, one.approval),
            )
            for one in found
            if one.approval is not None
        ]

    @query()
    def verify_approval(self, *, model: ModelName, number: int) -> bool:
        """Whether a version's approval is there, and its signature fits the version as it is now.

        Args:
            model: Name of the model.
            number: Number of the version.

        Raises:
            NotFound: There is no such version.
        """
        version = self.get(model=model, number=number)
        return version.approval is not None and not self._fault(version, version.approval)

    @command()
    def set_stage(
        self, *, model: ModelName, number: int, stage: Stage, archive_others: bool = False
    ) -> ModelVersion:
        """Put a version into a stage, as old clients do.

        Args:
            model: Name of the model.
            number: Number of the version.
            stage: Stage to put the version into.
            archive_others: Whether other versions in that stage are archived.

        Raises:
            NotFound: There is no such version.
            Forbidden: The stage is ``Production``, the project lets approved versions go live
                only, and this one is not approved.
        """
        found = self.get(model=model, number=number)
        if stage == "Production":
            self._refuse_unsigned(found, "stage Production")
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
    def set_alias(self, *, model: ModelName, alias: str, number: int) -> ModelVersion:
        """Point an alias at a version. Pointing it there again changes nothing.

        Args:
            model: Name of the model.
            alias: Name of the alias, such as champion.
            number: Number of the version.

        Raises:
            NotFound: There is no such version.
            Forbidden: The alias is ``champion``, the project lets approved versions go live only,
                and this one is not approved.
        """
        found = self.get(model=model, number=number)
        if alias == CHAMPION:
            self._refuse_unsigned(found, f"alias '{CHAMPION}'")
            named = ChampionNamed(model=model, number=number, project=found.project)
            return self._point(found, alias, besides=named)
        return self._point(found, alias)

    def _refuse_unsigned(self, version: ModelVersion, where: str) -> None:
        """Refuse what would put a version live, for whoever follows a name, without a signature."""
        try:
            policy = self._scope.project(name=version.project).spec.rollout
        except NotFound:  # nobody has declared the project, nor what it asks for
            return
        if policy.approve and not self.verify_approval(model=version.model, number=version.number):
            raise Forbidden(
                f"Version '{version.ref}' is not approved, and project '{version.project}' gives "
                f"{where} to approved versions only. Sign it: "
                f"{shell('treadle', 'approve', version.ref)}"
            )

    def _point(
        self, found: ModelVersion, alias: str, *, besides: Event | None = None
    ) -> ModelVersion:
        """Point an alias at a version, whoever asks, and tell ``besides`` where it moves."""
        model, number = found.model, found.number
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
                if besides is not None:
                    self._events.append(transaction, besides)
        return self.get(model=model, number=number)

    @command()
    def remove_alias(self, *, model: ModelName, alias: str) -> None:
        """Take an alias away. Taking away one that is not there changes nothing.

        Args:
            model: Name of the model.
            alias: Name of the alias, such as champion.
        """
        here = (aliases.c.model == model) & (aliases.c.alias == alias)
        with self._database.write() as transaction:
            number = transaction.scalar(select(aliases.c.number).where(here))
            if number is not None:
                transaction.execute(delete(aliases).where(here))
                self._events.append(
                    transaction,
                    AliasRemoved(
                        model=model,
                        alias=alias,
                        project=self._project(transaction, model),
                        number=number,
                    ),
                )

    def _fault(self, version: ModelVersion, approval: Approval) -> str:
        """Why an approval is not believed; empty where it is."""
        if (approval.package, approval.verdict) != (version.package, version.verdict):
            return "It was given on another package or verdict than the version has."
        facts = _content(version) | {
            name: getattr(approval, name) for name in ("by", "at", "comment")
        }
        keys = self._keys()
        signed_at = None
        if keys.signer(approval.signature) != keys.current:  # until when did that key sign?
            signed_at = self._event_of(version, approval)
        fault = keys.fault(
            approval.signature, lambda secret: _digest(facts, secret), event=signed_at
        )
        return f"It does not fit the version, its verdict and its package. {fault}" if fault else ""

    def _event_of(self, version: ModelVersion, approval: Approval) -> int:
        """The number of the event that tells of an approval, beyond all where none does.

        When it was signed is said by whoever signs; the log says it in order.
        """
        told = self._events.history(
            subject=f"version:{version.ref}", type=VersionApproved.__name__, limit=10_000
        )
        numbers = (one.number for one in told if one.body["signature"] == approval.signature)
        return next(numbers, sys.maxsize)


def _digest(facts: Mapping[str, Any], secret: bytes) -> str:
    return hmac.new(secret, to_json(dict(facts)), "sha256").hexdigest()


def _content(version: ModelVersion) -> dict[str, Any]:
    """What an approval signs of a version: all that says which model it is, and the evidence."""
    facts = {
        "model": version.model,
        "number": version.number,
        "package": version.package,
        "verdict": version.verdict,
    }
    return facts | ({"source": version.source, "run": version.run} if version.source else {})
