"""Makes the target what the records say an endpoint should be."""

from collections.abc import Mapping
from typing import Any

from treadle.delivery.advance import RolloutAdvance
from treadle.delivery.model import (
    EndpointScaled,
)
from treadle.delivery.records import UNDER_WAY
from treadle.delivery.tables import endpoints
from treadle.kernel.event import acting, current_act
from treadle.ports.target import EndpointSpec, Variant
from treadle.registry.model import CHAMPION
from treadle.scope.file import share
from treadle.scope.policies import ServingPolicy
from treadle.scope.shares import percentage


class EndpointConvergence(RolloutAdvance):
    """Compares endpoints as they should be with what the target shows, and takes one step."""

    def _reconcile(self, name: str) -> int:
        active = self._active(name)
        self._tallies = {
            key: t
            for key, t in self._tallies.items()
            if key[0] != name or (active and key[1] == active.id)
        }
        moved = self._advance(active) if active is not None else 0
        return moved + self._scale(name) + self._converge(name) + self._follow_alias(name)

    def _scale(self, name: str) -> int:
        """Set how many replicas an endpoint should have, where that has changed.

        The load is looked at from time to time only.
        """
        if not self._scaling.due(name):
            return 0
        row, status = self._row(name), self._target.observe(name)
        if row is None or status is None:
            return 0
        policy = self._scope.project(name=row["project"]).spec.serving
        if policy.scales:
            before, found = (
                _replicas(row, policy),
                self._scaling.look(name, policy, status.replicas),
            )
            if found.replicas != before:
                with self._database.write() as transaction:
                    here = endpoints.c.name == name
                    transaction.execute(
                        endpoints.update().where(here).values(replicas=found.replicas)
                    )
                    event = EndpointScaled(
                        endpoint=name,
                        project=row["project"],
                        before=before,
                        replicas=found.replicas,
                        reason=found.reason,
                    )
                    self._events.append(transaction, event)
        spec = self._wanted(name)
        if spec is None or status.wanted == spec.replicas or status.generation != spec.generation:
            return 0
        self._target.apply(spec)
        return 1

    def _converge(self, name: str) -> int:
        """Make the target what the records say. Repeats what a crash left undone."""
        status = self._target.observe(name)
        told = 0
        if status is not None and status.exits and (row := self._row(name)) is not None:
            told = self._exit_news.tell(name, row["project"], status.exits)
        if status is not None and status.generation == self._generation(name):
            return told
        spec = self._wanted(name)
        if spec is None:
            return told
        self._target.apply(spec)
        return told + 1

    def _wanted(self, name: str) -> EndpointSpec | None:
        row = self._row(name)
        if row is None or row["champion"] is None:
            return None
        variants = [self._variant(row["model"], row["champion"], "champion", 1.0)]
        active = self._active(name)
        if active is not None and active.state in UNDER_WAY:
            part = share(active.step) if active.part is None else active.part
            variants = [self._variant(row["model"], row["champion"], "champion", 1.0 - part)]
            role = "shadow" if active.step == "shadow" else "candidate"
            variants.append(self._variant(active.model, active.number, role, part))
        spec = self._scope.project(name=row["project"]).spec
        return EndpointSpec(
            name=name,
            generation=row["generation"],
            variants=variants,
            replicas=_replicas(row, spec.serving),
            log_share=percentage(spec.serving.log)
            if len(variants) == 1
            else 1.0,  # gates judge by every request
            without_log=spec.serving.without_log,
        )

    def _variant(self, model: str, number: int, role: Any, weight: float) -> Variant:
        version = self._registry.get(model=model, number=number)
        return Variant(version=version.ref, package=version.package, role=role, weight=weight)

    def _follow_alias(self, name: str) -> int:
        """The endpoint that is named like its model says which version is the model's champion."""
        row = self._row(name)
        if row is None or name != row["model"] or row["champion"] is None:
            return 0
        number = row["champion"]
        if CHAMPION in self._registry.get(model=name, number=number).aliases:
            return 0
        newest = self._events.history(subject=f"endpoint:{name}", newest_first=True, limit=1)
        actor, cause = (
            (newest[0].actor, newest[0].number) if newest else (current_act().actor, None)
        )
        with acting(actor, cause=cause):
            self._registry.make_champion(model=name, number=number)
        return 1


def _replicas(row: Mapping[Any, Any], policy: ServingPolicy) -> int:
    """How many replicas an endpoint should have.

    As many as were last found to be needed, within what is declared now.
    """
    if not policy.scales:
        return policy.replicas
    last = row["replicas"]
    return min(max(policy.replicas if last is None else last, policy.replicas), policy.max_replicas)
