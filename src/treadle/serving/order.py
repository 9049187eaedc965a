"""What a model server's process is told when it is started."""

from treadle.kernel.entity import Entity


class Order(Entity):
    """What a process serves: endpoints' folders, as which of their replicas, on a listening socket that it has inherited.

    With ``kept`` somebody keeps it alive: it holds its replica's lock, and offers the socket to whoever keeps it next.
    """

    folders: list[str]
    replica: int
    socket: int
    callers: str | None = None
    kept: bool = False
