"""Endpoints and rollouts.

Commands state what is wanted; reconciling takes one step towards it at a time.
"""

import re

from sqlalchemy import select

from treadle.delivery.convergence import EndpointConvergence
from treadle.delivery.model import (
    Endpoint,
    EndpointRemoved,
    ExpectedLoad,
    Rollout,
    RolloutAborted,
    RolloutPaused,
    RolloutPromoted,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStarted,
)
from treadle.delivery.records import ACTIVE, rollout_of
from treadle.delivery.tables import endpoints, rollouts
from treadle.delivery.transitions import facts_of
from treadle.kernel.clock import duration
from treadle.kernel.entity import to_text
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.escaping import shell
from treadle.kernel.event import current_act
from treadle.kernel.ids import new_id
from treadle.kernel.names import EndpointName, VersionRef
from treadle.kernel.operation import command, query
from treadle.ports.target import EndpointSpec
from treadle.registry.registering import NAME
from treadle.scope.file import check_steps

MOST_HOURS = 24 * 28  # that a forecast goes


class Delivery(EndpointConvergence):
    """What is live, and how it got there."""

    @command()
    def deploy(
        self,
        *,
        version: VersionRef,
        endpoint: EndpointName | None = None,
        steps: list[str] | None = None,
        hold: str | None = None,
    ) -> Rollout:
        """Roll a version out to an endpoint.

        Goes through the steps of the project's file, or those given. The first version of an
        endpoint goes straight to all requests. Where production needs an approval, the rollout
        waits for it.

        Args:
            version: The version, as NAME:NUMBER or NAME@ALIAS.
            endpoint: Name of the endpoint; the model's name if none is given.
            steps: Steps such as shadow or 10%, in order; those of the project's file if none are
                given.
            hold: How long each step lasts at least, such as 15m; the project's own if not given.

        Raises:
            NotFound: There is no such version.
            Invalid: The version has no package, or the endpoint's name, a step or the hold is
                malformed.
            Conflict: The endpoint serves this version or another model, or is in the middle of a
                rollout.
        """
        found = self._registry.resolve(ref=version)
        if not found.package:
            raise Invalid(
                f"Version '{found.ref}' was registered from '{found.source}' without a package, "
                f"so nothing can serve it yet. Package and deploy it with: "
                f"{shell('treadle', 'deploy', found.ref)}"
            )
        policy = self._scope.project(name=found.project).spec.rollout
        if steps is not None:
            check_steps(steps, "steps")
        name = endpoint or found.model
        if not re.fullmatch(NAME, name):
            raise Invalid(
                f"'{name}' cannot name an endpoint: use letters, digits, hyphens, dots and "
                "underscores."
            )
        with self._database.write() as transaction:
            current = self._ensure_endpoint(transaction, name, found.project, found.model)
            self._refuse_second(transaction, name, found.project)
            if current == found.number:
                raise Conflict(f"Version '{found.ref}' is what endpoint '{name}' serves already.")
            wanted = steps or policy.way
            rollout = Rollout(
                id=new_id("rollout"),
                endpoint=name,
                model=found.model,
                number=found.number,
                previous=current,
                steps=wanted if current is not None else ["100%"],
                position=-1,
                hold_seconds=duration(hold or policy.hold).total_seconds(),
                min_requests=policy.min_requests,
                state="waiting",
                reason="",
                gates=[],
                step_started_at=self._clock.now(),
                created_at=self._clock.now(),
                ended_at=None,
                actor=current_act().actor,
                cause=None,
                part=None,
            )
            cause = self._events.append(
                transaction, RolloutStarted(**facts_of(rollout, found.project), steps=rollout.steps)
            )
            row = {f: getattr(rollout, f) for f in rollout.__struct_fields__}
            row |= {
                "steps": to_text(rollout.steps),
                "gates": to_text(rollout.gates),
                "cause": cause,
            }
            transaction.execute(rollouts.insert().values(row))
        self._reconcile(name)
        return self.rollout(id=rollout.id)

    @command()
    def abort(self, *, endpoint: EndpointName, reason: str) -> Rollout:
        """Stop the endpoint's rollout; the champion answers alone again.

        Args:
            endpoint: Name of the endpoint.
            reason: Why; it is kept with the event.

        Raises:
            Conflict: The endpoint has no rollout under way.
        """
        active = self._active(endpoint)
        if active is None:
            raise Conflict(f"Endpoint '{endpoint}' has no rollout under way.")
        self._end(
            active,
            "aborted",
            RolloutAborted(**facts_of(active, self._project(active)), reason=reason),
            reason,
            by=current_act().actor,
        )
        self._reconcile(endpoint)
        return self.rollout(id=active.id)

    @command()
    def pause(self, *, endpoint: EndpointName, reason: str) -> Rollout:
        """Keep the endpoint's rollout at its step until it is resumed.

        What fails is still rolled back.

        Args:
            endpoint: Name of the endpoint.
            reason: Why; it is kept with the event.

        Raises:
            Conflict: The endpoint has no rollout that runs.
        """
        return self._set_state(endpoint, "running", "paused", RolloutPaused, reason)

    @command()
    def resume(self, *, endpoint: EndpointName, reason: str) -> Rollout:
        """Let a paused rollout go on.

        Args:
            endpoint: Name of the endpoint.
            reason: Why; it is kept with the event.

        Raises:
            Conflict: The endpoint has no rollout that is paused.
        """
        return self._set_state(endpoint, "paused", "running", RolloutResumed, reason)

    @command()
    def promote(self, *, endpoint: EndpointName, reason: str) -> Rollout:
        """Give the endpoint's rollout all requests now, whatever its gates still wait for.

        Args:
            endpoint: Name of the endpoint.
            reason: Why; it is kept with the event.

        Raises:
            Conflict: The endpoint has no rollout under way, or it waits for an approval.
        """
        active = self._active(endpoint)
        if active is None or active.state == "waiting":
            what = "waits for an approval" if active else "has no rollout under way"
            raise Conflict(f"Endpoint '{endpoint}' {what}, so nothing can be promoted.")
        about = facts_of(active, self._project(active))
        event = RolloutPromoted(**about, reason=reason, previous=active.previous)
        self._end(active, "promoted", event, reason, by=current_act().actor)
        self._reconcile(endpoint)
        return self.rollout(id=active.id)

    @command()
    def roll_back(self, *, endpoint: EndpointName, reason: str) -> Endpoint:
        """Undo the last change, at once.

        Aborts the rollout under way, or goes back to the champion before this one.

        Args:
            endpoint: Name of the endpoint.
            reason: Why; it is kept with the event.

        Raises:
            NotFound: There is no such endpoint.
            Conflict: The endpoint has had one version only.
        """
        if self._active(endpoint) is not None:
            self.abort(endpoint=endpoint, reason=reason)
            return self.endpoint(name=endpoint)
        promoted = self.rollouts(endpoint=endpoint, state="promoted", limit=1)
        current = self.endpoint(name=endpoint)
        if not promoted or promoted[0].previous is None:
            raise Conflict(
                f"Endpoint '{endpoint}' has had one version only, so there is none to go back to."
            )
        last = promoted[0]
        with self._database.write() as transaction:
            self._set_champion(transaction, current.name, last.previous)
            transaction.execute(
                rollouts.update()
                .where(rollouts.c.id == last.id)
                .values(state="rolled back", reason=reason)
            )
            about = facts_of(last, current.project)
            event = RolloutRolledBack(**about, step="after promotion", reason=reason)
            self._events.append(transaction, event)
        self._reconcile(endpoint)
        return self.endpoint(name=endpoint)

    @command()
    def remove(self, *, endpoint: EndpointName) -> None:
        """End an endpoint and its processes. Its inference log stays.

        Args:
            endpoint: Name of the endpoint.

        Raises:
            NotFound: There is no such endpoint.
        """
        found = self.endpoint(name=endpoint)
        with self._database.write() as transaction:
            reason = "the endpoint was removed"
            mine = (rollouts.c.endpoint == endpoint) & rollouts.c.state.in_(ACTIVE)
            for row in transaction.execute(select(rollouts).where(mine)).mappings().all():
                self._events.append(
                    transaction,
                    RolloutAborted(**facts_of(rollout_of(row), found.project), reason=reason),
                )
            ended = {"state": "aborted", "reason": reason, "ended_at": self._clock.now()}
            transaction.execute(rollouts.update().where(mine).values(ended))
            transaction.execute(endpoints.delete().where(endpoints.c.name == endpoint))
            self._events.append(
                transaction,
                EndpointRemoved(endpoint=endpoint, project=found.project, model=found.model),
            )
        self._target.remove(endpoint)

    @query()
    def spec(self, *, endpoint: EndpointName) -> EndpointSpec:
        """What an endpoint should be now.

        That is its variants with their parts of the requests, and its replicas.

        Args:
            endpoint: Name of the endpoint.

        Raises:
            NotFound: There is no such endpoint.
            Conflict: The endpoint's first version waits for an approval.
        """
        self.endpoint(name=endpoint)
        wanted = self._wanted(endpoint)
        if wanted is None:
            raise Conflict(
                f"Endpoint '{endpoint}' has no champion yet: its first version waits for an "
                "approval."
            )
        return wanted

    @query()
    def forecast(self, *, endpoint: EndpointName, hours: int = 24) -> list[ExpectedLoad]:
        """The load to expect in the coming hours, and the replicas it takes.

        It is what the same hours brought in the weeks before.

        Args:
            endpoint: Name of the endpoint.
            hours: How many hours ahead, 672 at most.

        Raises:
            NotFound: There is no such endpoint.
            Invalid: The number of hours is out of bounds.
        """
        if not 0 < hours <= MOST_HOURS:
            raise Invalid(f"Field 'hours': {hours} is not between 1 and {MOST_HOURS}.")
        policy = self._scope.project(name=self.endpoint(name=endpoint).project).spec.serving
        return self._scaling.expected(endpoint, policy, hours)
