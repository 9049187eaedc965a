"""What a model server's process is told when it is started."""

from treadle.kernel.entity import Entity


class Order(Entity):
    """What a process serves: endpoints' folders, as which of their replicas, on a listening socket that it has inherited.

    With a ``repository`` its models may be loaded and unloaded, which is remembered below ``state``. With ``kept`` somebody keeps it alive: it holds its replica's lock, and offers the socket to whoever keeps it next.
    """

    folders: list[str]
    replica: int
    socket: int
    callers: str | None = None
    repository: str | None = None
    state: str = ""
    kept: bool = False
