"""The order that a model server's process is started with."""

from treadle.kernel.entity import Entity


class Order(Entity):
    """What a model server's process serves.

    Attributes:
        folders: The endpoints' folders.
        replica: The number of the endpoints' replica that the process is.
        socket: The descriptor of a listening socket that the process inherits.
        callers: A file of callers; None where no token is needed.
        repository: A folder whose models may be loaded and unloaded; None where none may be.
        state: A folder that remembers which models are loaded.
        kept: Whether the process has a keeper: it then holds its replica's lock, and offers the
            socket to the next keeper.
        trusted: A file of the packages that may run code; empty where a name is trusted or none.
    """

    folders: list[str]
    replica: int
    socket: int
    callers: str | None = None
    repository: str | None = None
    state: str = ""
    kept: bool = False
    trusted: str = ""
