"""Lists, loads and unloads models over HTTP, by Triton's model repository extension."""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from treadle.kernel.errors import TreadleError, Unavailable
from treadle.serving.engine import Engine
from treadle.serving.http import Exchange
from treadle.serving.replies import FAILED, encode, fail

PATH = "/v2/repository/"
LOAD_SECONDS = 60.0
log = logging.getLogger(__name__)


class Loading(Protocol):
    """Models that may be loaded and unloaded; both may be repeated."""

    def names(self) -> list[str]:
        """Return the models' names."""
        ...

    def load(self, name: str) -> None:
        """Load a model.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model.
        """
        ...

    def unload(self, name: str) -> None:
        """Unload a model.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model.
        """
        ...


class ModelRepository:
    """Answers requests for the models that a server may load and unload.

    Args:
        loading: Loads and unloads models.
        engines: The server's engines by the models' names; None for one that is loading.
    """

    def __init__(self, loading: Loading, engines: Mapping[str, Engine | None]) -> None:
        self._loading, self._engines = loading, engines
        self._changing: set[asyncio.Future[None]] = set()

    def answer(self, exchange: Exchange) -> bool:
        """Answer a request, at once or when the model is loaded or unloaded.

        Args:
            exchange: The request; its path begins with `PATH`.

        Returns:
            Whether the path is known; a request whose path is not is not answered.
        """
        if exchange.path == f"{PATH}index":
            exchange.reply(200, encode(self.index()))
            return True
        name, _, verb = exchange.path.removeprefix(f"{PATH}models/").rpartition("/")
        if verb not in ("load", "unload") or not name:
            return False
        work = asyncio.ensure_future(self._changed(exchange, name, verb))
        self._changing.add(work)
        work.add_done_callback(self._changing.discard)
        return True

    def index(self) -> list[dict[str, str]]:
        """Return the models that may be loaded, each with its version and state."""
        return [state_of(name, self._engines) for name in self._loading.names()]

    async def _changed(self, exchange: Exchange, name: str, verb: str) -> None:
        loads = verb == "load"
        try:
            await asyncio.to_thread(self._loading.load if loads else self._loading.unload, name)
            until = time.monotonic() + LOAD_SECONDS
            while self._is_loaded(name) is not loads and time.monotonic() < until:
                await asyncio.sleep(0.02)
            if self._is_loaded(name) is not loads:
                raise Unavailable(
                    f"Model '{name}' could not be {verb}ed within {LOAD_SECONDS:.0f} s. "
                    "The server's log says more."
                )
            exchange.reply(200, b"{}")
        except TreadleError as error:
            fail(exchange, error)
        except Exception:
            log.exception("%s of '%s' failed", verb, name)
            exchange.reply(500, FAILED)

    def _is_loaded(self, name: str) -> bool:
        return self._engines.get(name) is not None


def state_of(name: str, engines: Mapping[str, Engine | None]) -> dict[str, str]:
    """Return a model's version and state.

    Args:
        name: The model's name.
        engines: The engines by the models' names; None for one that is loading.
    """
    engine = engines.get(name)
    if engine is None:
        reason = "loading" if name in engines else "unloaded"
        return {"name": name, "state": "UNAVAILABLE", "reason": reason}
    version = engine.generation.champion.served.variant.version.rpartition(":")[2]
    return {"name": name, "version": version, "state": "READY", "reason": ""}
