"""What goes over the socket between whoever needs confined code and the process that runs it."""

import socket
from typing import Any, TypeVar

from treadle.kernel.entity import Entity, from_json, to_json
from treadle.kernel.errors import Invalid
from treadle.ports.sandbox import Task

E = TypeVar("E", bound=Entity)
_LARGEST_BYTES = 64 << 20
_LENGTH_BYTES = 8


class Order(Entity):
    """What a runner is to do.

    Attributes:
        task: The call.
        hidden: The folder that it must not see, even below one that it may read.
        environment: All environment variables.
    """

    task: Task
    hidden: str
    environment: dict[str, str]


class Answer(Entity):
    """How a call ended.

    Attributes:
        result: What the function returned.
        error: Class name and message of the error that it raised.
        retry: Whether the same call may succeed later.
        refused: Why the process could not be confined, so that nothing was called.
    """

    result: Any = None
    error: tuple[str, str] | None = None
    retry: bool = False
    refused: str = ""


class Ended(Entity):
    """Nothing is left of a task.

    Attributes:
        code: Exit code of its process; the negative signal where one has ended it.
        cpu_seconds: Processor time that it took.
    """

    code: int
    cpu_seconds: float = 0.0


def send(connection: socket.socket, message: Entity) -> None:
    """Send a message.

    Args:
        connection: The socket.
        message: The message.
    """
    content = to_json(message)
    connection.sendall(len(content).to_bytes(_LENGTH_BYTES, "big") + content)


def receive(connection: socket.socket, kind: type[E]) -> E | None:
    """Wait for a message.

    Args:
        connection: The socket.
        kind: Class of the message.

    Returns:
        The message, or None when the other side ended without one.

    Raises:
        Invalid: The message is too large or malformed.
    """
    length = int.from_bytes(_exactly(connection, _LENGTH_BYTES), "big")
    if length > _LARGEST_BYTES:
        raise Invalid(f"A confined process answered with more than {_LARGEST_BYTES >> 20} MiB.")
    content = _exactly(connection, length)
    return from_json(content, kind) if content else None


def _exactly(connection: socket.socket, size: int) -> bytes:
    """The next bytes; none when the other side ended before they came."""
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return b""
        parts += part
    return bytes(parts)
