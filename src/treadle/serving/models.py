"""The models that a server answers for, and what every protocol asks of them."""

import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import count
from typing import Any

from treadle.kernel.errors import NotFound, TreadleError, Unavailable
from treadle.serving.engine import Engine
from treadle.serving.request_headers import Headers
from treadle.serving.routing import Answer
from treadle.serving.rows import Rows
from treadle.serving.tensors import describe


class Models:
    """The models of a server by their names.

    Args:
        names: The names.

    Attributes:
        engines: The engines by the models' names; None until the first generation is loaded.
        version: Treadle's version.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.engines: dict[str, Engine | None] = dict.fromkeys(names)
        self.version = version("treadle")
        self._prefix, self._numbers = os.urandom(6).hex(), count()

    @property
    def ready(self) -> bool:
        """Whether every model is loaded."""
        return all(engine is not None for engine in self.engines.values())

    def new_id(self) -> str:
        """Return an id for a request that has none."""
        return f"{self._prefix}-{next(self._numbers)}"

    def known(self, name: str) -> Engine | None:
        """Return a model's engine, or None while it is loading.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model here.
        """
        if name not in self.engines:
            names = "', '".join(self.engines)
            raise NotFound(
                f"There is no model '{name[:80]}' here; this server answers for '{names}'."
            )
        return self.engines[name]

    def engine(self, name: str) -> Engine:
        """Return a model's engine.

        Args:
            name: The model's name.

        Raises:
            NotFound: There is no such model here.
            Unavailable: The model is loading.
        """
        engine = self.known(name)
        if engine is None:
            raise loading(name)
        return engine


def loading(name: str) -> Unavailable:
    """The error for a model that is not loaded yet.

    Args:
        name: The model's name.
    """
    return Unavailable(f"Endpoint '{name}' is loading its model. Try again in a second.")


def versions_of(engine: Engine) -> list[str]:
    """Return the versions that answer, the champion's first.

    Args:
        engine: The model's engine.
    """
    return [lane.served.variant.version for lane in engine.generation.answering]


def check_version(engine: Engine, version: str) -> None:
    """Check that a version answers, as a whole (`churn:3`) or by its number.

    Args:
        engine: The model's engine.
        version: The version.

    Raises:
        NotFound: The version does not answer.
    """
    versions = versions_of(engine)
    if not any(version in (known, known.rpartition(":")[2]) for known in versions):
        raise NotFound(
            f"There is no versions/{version[:70]} here. "
            f"Versions that answer: {', '.join(versions)}."
        )


def metadata(name: str, engine: Engine) -> dict[str, Any]:
    """Return what the Open Inference Protocol tells of a model.

    Args:
        name: The model's name.
        engine: Its engine.
    """
    inputs, outputs = describe(engine.generation.champion.served.signature)
    return {
        "name": name,
        "versions": versions_of(engine),
        "platform": "treadle",
        "inputs": inputs,
        "outputs": outputs,
    }


def submit(
    engine: Engine,
    request: str,
    rows: Rows,
    headers: Headers,
    done: Callable[[Answer | TreadleError], None],
) -> None:
    """Have rows answered; a request without rows is answered at once.

    Args:
        engine: The model's engine.
        request: The request's id.
        rows: The rows.
        headers: The key that chooses the variant, and how long the caller waits.
        done: Called once with the answer, or the error.

    Raises:
        Busy: Too many requests are in hand.
    """
    if not len(rows):
        served = engine.generation.champion.served
        return done(Answer(served.failed(0, "")[0], served))
    return engine.submit(
        request, rows, done, key=headers.key, timeout_seconds=headers.timeout_seconds
    )
