"""The port to what runs code of a project so that it reaches nothing but what it was given."""

from typing import Any, Literal, Protocol

from treadle.kernel.entity import Entity

Strength = Literal["namespaces", "landlock", "off"]
"""How code is confined, the strongest first.

``namespaces``: the process sees no file but what it was given, no other process, and no network
unless it was declared; where Treadle runs as root it has a user id of its own. ``landlock``: the
kernel refuses other files and TCP connections, but the process shares ids, UDP and memory limits
with the rest. ``off``: nothing is refused.
"""
KNOWN_STRENGTH = "TREADLE_SANDBOX_STRENGTH"
"""The environment variable that tells a job what its worker has found."""
STRENGTHS: tuple[Strength, ...] = ("namespaces", "landlock", "off")


class Allowance(Entity):
    """What confined code may use.

    Attributes:
        network: Whether it may use the network.
        memory_bytes: Memory that one of its processes may take; 0 for nine tenths of the machine's.
        disk_bytes: Bytes that its files may have together; 0 for half of what is free.
        processes: Number of its processes and threads; 0 for 32 for each core, and 512 at least.
        cpu_seconds: Processor time that one of its processes may take, in whole seconds; 0 for any.
    """

    network: bool = False
    memory_bytes: int = 0
    disk_bytes: int = 0
    processes: int = 0
    cpu_seconds: int = 0


class Task(Entity):
    """A call of a function in a confined process.

    Attributes:
        function: The function as ``MODULE:NAME``. It takes ``argument`` and returns what JSON can
            hold.
        argument: Its argument, as JSON can hold it.
        readable: Files and folders that it may read, beside the interpreter and its packages.
        scratch: The folder that it may write into, and in which it starts.
        allowance: What it may use.
    """

    function: str
    argument: Any
    readable: list[str]
    scratch: str
    allowance: Allowance = Allowance()


class Sandbox(Protocol):
    """Runs functions in confined processes.

    - The function's output and errors go to this process's standard output and error.
    - A process that ends without a result, or is ended at a limit, raises an error that says so.
    - All that the function has started is gone when ``call`` returns.

    Attributes:
        strength: How the code is confined on this machine.
    """

    @property
    def strength(self) -> Strength:
        """How code is confined here."""

    def call(self, task: Task) -> Any:
        """Call a function in a confined process, and wait for its result.

        Args:
            task: What to call, and what it may reach.

        Returns:
            What the function returned, read back from JSON. It comes from code that is not trusted.

        Raises:
            TreadleError: What the function raised, or why the process ended without a result.
        """
