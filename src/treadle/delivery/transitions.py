"""Changes the state of endpoints and rollouts, each with the event that tells of it."""

from typing import Any

from sqlalchemy import Connection, select

from treadle.delivery.model import (
    EndpointCreated,
    GateResult,
    Rollout,
    RolloutAborted,
    RolloutAdvanced,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutState,
)
from treadle.delivery.records import ACTIVE, DeliveryRecords, rollout_of
from treadle.delivery.tables import endpoints, rollouts
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict
from treadle.kernel.escaping import shell
from treadle.kernel.event import Event, acting
from treadle.scope.file import share


class RolloutTransitions(DeliveryRecords):
    """Changes rows of endpoints and rollouts that are still in the state that was seen."""

    def _ensure_endpoint(
        self, transaction: Connection, name: str, project: str, model: str
    ) -> int | None:
        """The endpoint's champion; the endpoint is made if it is not there."""
        row = (
            transaction.execute(select(endpoints).where(endpoints.c.name == name))
            .mappings()
            .one_or_none()
        )
        if row is not None:
            if row["project"] != project:
                raise Conflict(
                    f"Endpoint '{name}' belongs to project '{row['project']}', not '{project}'."
                )
            if row["model"] != model:
                raise Conflict(
                    f"Endpoint '{name}' serves model '{row['model']}', not '{model}'. Name "
                    "another endpoint."
                )
            champion: int | None = row["champion"]
            return champion
        values = {
            "name": name,
            "project": project,
            "model": model,
            "generation": 0,
            "created_at": self._clock.now(),
        }
        transaction.execute(endpoints.insert().values(values))
        self._events.append(
            transaction, EndpointCreated(endpoint=name, project=project, model=model)
        )
        return None

    def _refuse_second(self, transaction: Connection, name: str, project: str) -> None:
        """One rollout at a time; one that has not begun gives way to a newer version."""
        active = (rollouts.c.endpoint == name) & rollouts.c.state.in_(ACTIVE)
        for row in transaction.execute(select(rollouts).where(active)).mappings().all():
            found = rollout_of(row)
            if found.state != "waiting":
                raise Conflict(
                    f"Endpoint '{name}' is at step '{found.step}' of rolling out {found.version}. "
                    f"Wait for it, or: {shell('treadle', 'rollback', name)}"
                )
            values = {
                "state": "aborted",
                "reason": "a newer version came first",
                "ended_at": self._clock.now(),
            }
            transaction.execute(rollouts.update().where(rollouts.c.id == found.id).values(values))
            self._events.append(
                transaction,
                RolloutAborted(**facts_of(found, project), reason="a newer version came first"),
            )

    def _set_state(
        self,
        endpoint: str,
        before: RolloutState,
        after: RolloutState,
        event: type[RolloutPaused | RolloutResumed],
        reason: str,
    ) -> Rollout:
        active = self._active(endpoint)
        if active is None or active.state != before:
            what = f"is {active.state}" if active else "has no rollout under way"
            raise Conflict(
                f"Endpoint '{endpoint}': its rollout {what}; only one that is {before} can be "
                f"{after}."
                if active
                else f"Endpoint '{endpoint}' {what}."
            )
        about = facts_of(active, self._project(active))
        still = (rollouts.c.id == active.id) & (rollouts.c.state == before)
        with self._database.write() as transaction:
            if transaction.execute(
                rollouts.update().where(still).values(state=after, reason=reason)
            ).rowcount:
                self._events.append(transaction, event(**about, step=active.step, reason=reason))
        return self.rollout(id=active.id)

    def _enter(
        self, rollout: Rollout, position: int, reason: str, results: list[GateResult] | None = None
    ) -> int:
        """Begin a step; a step of all requests is the promotion."""
        about = facts_of(rollout, self._project(rollout))
        if position >= len(rollout.steps) or share(rollout.steps[position]) >= 1:
            event: Event = RolloutPromoted(**about, reason=reason, previous=rollout.previous)
            return self._end(rollout, "promoted", event, reason, results)
        step = rollout.steps[position]
        still = (
            (rollouts.c.id == rollout.id)
            & (rollouts.c.position == rollout.position)
            & rollouts.c.state.in_(ACTIVE)
        )
        with self._database.write() as transaction, acting(rollout.actor, cause=rollout.cause):
            values = {
                "state": "running",
                "position": position,
                "reason": reason,
                "gates": to_text(results or []),
            }
            values |= {"step_started_at": self._clock.now(), "part": None}
            if transaction.execute(rollouts.update().where(still).values(values)).rowcount:
                self._bump(transaction, rollout.endpoint)
                self._events.append(transaction, RolloutAdvanced(**about, step=step, reason=reason))
        return 1

    def _end(
        self,
        rollout: Rollout,
        state: RolloutState,
        event: Event,
        reason: str,
        results: list[GateResult] | None = None,
        by: str | None = None,
    ) -> int:
        """End a rollout, in the name of who deployed it unless somebody else ends it."""
        still = (rollouts.c.id == rollout.id) & rollouts.c.state.in_(ACTIVE)
        with (
            self._database.write() as transaction,
            acting(by or rollout.actor, cause=rollout.cause),
        ):
            values = {"state": state, "reason": reason, "ended_at": self._clock.now()}
            values["gates"] = to_text(results if results is not None else rollout.gates)
            if not transaction.execute(rollouts.update().where(still).values(values)).rowcount:
                return 0
            if state == "promoted":
                self._set_champion(transaction, rollout.endpoint, rollout.number)
            else:
                self._bump(transaction, rollout.endpoint)
            self._events.append(transaction, event)
        return 1

    def _set_champion(self, transaction: Connection, name: str, number: int | None) -> None:
        transaction.execute(
            endpoints.update().where(endpoints.c.name == name).values(champion=number)
        )
        self._bump(transaction, name)

    def _bump(self, transaction: Connection, name: str) -> None:
        here = endpoints.c.name == name
        transaction.execute(
            endpoints.update().where(here).values(generation=endpoints.c.generation + 1)
        )


def facts_of(rollout: Rollout, project: str) -> dict[str, Any]:
    """The fields that every event of a rollout has.

    Args:
        rollout: The rollout that the event is about.
        project: The project of the rollout's version.
    """
    return {
        "rollout": rollout.id,
        "endpoint": rollout.endpoint,
        "project": project,
        "model": rollout.model,
        "number": rollout.number,
    }
