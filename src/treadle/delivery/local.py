"""Delivery as the process has it that holds the database."""

import logging

from sqlalchemy import select

from treadle.delivery.service import Delivery
from treadle.delivery.tables import endpoints, rollouts
from treadle.kernel.errors import TreadleError
from treadle.kernel.stage import RECONCILE
from treadle.registry.hooks import DEPLOYED_AT, STILL_NEEDED_BY

log = logging.getLogger(__name__)


class LocalDelivery(Delivery):
    """What is live, and how it got there; with what only this process does."""

    @RECONCILE()
    def reconcile(self) -> int:
        """Move every rollout on as far as it can go now, and make the target what it should be."""
        moved, names = 0, [row["name"] for row in self._all()]
        for name in names:
            try:
                moved += self._reconcile(name)
            except TreadleError as error:  # one endpoint's trouble stops no other
                log.warning("endpoint '%s': %s", name, error.message)
            except Exception:
                log.exception("endpoint '%s' could not be reconciled", name)
        for stray in set(self._target.endpoints()) - set(names):
            self._target.remove(stray)
            moved += 1
        return moved

    def is_of(self, endpoint: str, project: str) -> bool:
        """Whether there is an endpoint of a name, and it belongs to a project.

        Args:
            endpoint: The name, which may be any text.
            project: Name of the project.
        """
        row = self._row(endpoint)
        return row is not None and row["project"] == project

    @STILL_NEEDED_BY()
    def needs(self, model: str, number: int) -> str | None:
        """What keeps a version from being deleted: its live endpoint, or its rollout.

        Args:
            model: Name of the model.
            number: Number of the version.

        Returns:
            The reason as the end of a sentence, with the next step; None when nothing needs it.
        """
        with self._database.read() as connection:
            live = (endpoints.c.model == model) & (endpoints.c.champion == number)
            endpoint = connection.scalar(select(endpoints.c.name).where(live))
            coming = (
                (rollouts.c.model == model)
                & (rollouts.c.number == number)
                & rollouts.c.ended_at.is_(None)
            )
            rollout = connection.scalar(select(rollouts.c.id).where(coming))
        if endpoint is not None:
            return f"it is live on endpoint '{endpoint}'. Deploy another version there first."
        return None if rollout is None else f"rollout '{rollout}' brings it. Abort that first."

    @DEPLOYED_AT()
    def deployed(self) -> dict[tuple[str, int], list[str]]:
        """The endpoints that each deployed version is live on, or is being rolled out to.

        Returns:
            Names of endpoints, sorted, by (model, number).
        """
        live = select(endpoints.c.model, endpoints.c.champion, endpoints.c.name).where(
            endpoints.c.champion.is_not(None)
        )
        coming = select(rollouts.c.model, rollouts.c.number, rollouts.c.endpoint).where(
            rollouts.c.ended_at.is_(None)
        )
        found: dict[tuple[str, int], set[str]] = {}
        with self._database.read() as connection:
            for model, number, endpoint in [*connection.execute(live), *connection.execute(coming)]:
                found.setdefault((model, number), set()).add(endpoint)
        return {version: sorted(names) for version, names in found.items()}
