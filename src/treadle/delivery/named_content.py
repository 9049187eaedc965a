"""Says which contents of the blob store live endpoints name."""

from collections.abc import Iterator

from sqlalchemy import select

from treadle.delivery.tables import endpoints, rollouts
from treadle.kernel.errors import NotFound
from treadle.kernel.stage import NAMED_CONTENT
from treadle.ports.content import NamedContent
from treadle.ports.database import Database
from treadle.registry.service import Registry


class DeliveryContent:
    """Lists what endpoints serve, and what their rollouts bring.

    Args:
        database: Where they are.
        registry: Says which package a version is.
    """

    def __init__(self, database: Database, registry: Registry) -> None:
        self._database, self._registry = database, registry

    @NAMED_CONTENT()
    def named_content(self) -> Iterator[NamedContent]:
        """Yield each package that they name."""
        live = select(endpoints.c.model, endpoints.c.champion, endpoints.c.name).where(
            endpoints.c.champion.is_not(None)
        )
        coming = select(rollouts.c.model, rollouts.c.number, rollouts.c.endpoint).where(
            rollouts.c.ended_at.is_(None)
        )
        with self._database.read() as connection:
            served = [*connection.execute(live), *connection.execute(coming)]
        for model, number, endpoint in served:
            try:
                package = self._registry.get(model=model, number=number).package
            except NotFound:
                continue
            if package:
                yield NamedContent(package, f"live endpoint '{endpoint}' ('{model}:{number}')")
