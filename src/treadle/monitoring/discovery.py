"""Finds the monitors that packages have registered, Treadle's own among them."""

from collections.abc import Sequence
from importlib.metadata import EntryPoint

from treadle.kernel.errors import Invalid
from treadle.kernel.plugins import registered
from treadle.ports.monitor import GROUP, Context, Finding, Monitor, Needs


def registered_monitors() -> list[Monitor]:
    """Make every monitor that is registered in the group ``treadle.monitor``, ordered by name.

    Returns:
        The monitors. One that cannot be loaded is replaced by one that fails with the reason at
        every look, so that it is seen with every window and stops no other.

    Raises:
        Invalid: None is registered, so the installed metadata is older than this code; or two
            packages have registered different monitors under one name.
    """
    by_name: dict[str, EntryPoint] = {}
    for entry in registered(GROUP):
        known = by_name.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise Invalid(
                f"Two monitors are registered as '{entry.name}': {known.value} and {entry.value}. "
                "Uninstall the package of one of them."
            )
    if not by_name:
        raise Invalid(
            "No monitor is registered, not even Treadle's own: "
            "its installed metadata is older than its code. Install Treadle again."
        )
    return [_made(by_name[name]) for name in sorted(by_name)]


def _made(entry: EntryPoint) -> Monitor:
    try:
        monitor: Monitor = entry.load()()
        if monitor.name != entry.name:
            raise Invalid(f"it calls itself '{monitor.name}'")
    except Exception as error:
        return _Unloadable(entry, error)
    return monitor


class _Unloadable:
    """Stands for a monitor that cannot be loaded, and says so at every look."""

    needs = Needs()

    def __init__(self, entry: EntryPoint, error: Exception) -> None:
        self.name = entry.name
        self._reason = f"The monitor '{entry.name}' ({entry.value}) cannot be loaded: {error}"

    def look(self, context: Context) -> Sequence[Finding]:  # noqa: ARG002
        raise Invalid(self._reason)
