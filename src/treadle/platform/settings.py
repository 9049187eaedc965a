"""Where a home is and which backends it uses.

Settings are remembered in the home, and handed to child processes by environment variables.
"""

import os
import stat
from pathlib import Path
from typing import Any

from treadle.kernel.clock import Clock, ManualClock, SystemClock
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Conflict, Invalid
from treadle.kernel.files import write_whole
from treadle.kernel.plugins import factory_of
from treadle.platform.addresses import (
    declared_addresses,
    for_settings,
    place_of,
    resolved,
    shown,
    variables_of,
    without_password,
)
from treadle.platform.places import claim_file, refuse_other_places
from treadle.scope.file import nearest

FILE = "settings.json"
PORTS = ("database", "blobs", "executor", "target", "sandbox", "online_store")
PLACED = ("database", "blobs")
"""The ports whose backends hold what a home cannot make again."""


class Settings(Entity):
    """A home's settings. Empty addresses mean the embedded backends inside the home.

    The addresses are URLs, or references to URLs (``addresses.py``). ``places`` says where the
    database and the blobs were when the home was opened last, so that a reference which has come
    to mean another place is noticed. With ``manual_clock`` the home's time is what its file
    ``clock`` says. ``oidc`` is the file that declares how people sign in, or ``off``.
    """

    home: str
    database: str = ""
    blobs: str = ""
    executor: str = ""
    target: str = ""
    sandbox: str = ""
    online_store: str = ""
    oidc: str = ""
    manual_clock: bool = False
    places: dict[str, str] = {}

    def address(self, port: str) -> str:
        """Return the address of a port's backend; that of the embedded one where none is set.

        Args:
            port: One of ``PORTS``.
        """
        return str(getattr(self, port)) or default_url(port, self.folder)

    def place(self, port: str) -> str:
        """Return where a port's backend was when the home was opened last.

        Args:
            port: One of ``PLACED``.
        """
        return place_of(self.places.get(port) or self.address(port))

    @property
    def folder(self) -> Path:
        """The home's folder."""
        return Path(self.home)

    @property
    def oidc_file(self) -> Path | None:
        """The file that declares the identity provider; None where nobody signs in."""
        return Path(self.oidc) if self.oidc not in ("", "off") else None

    def environment(self) -> dict[str, str]:
        """Return the environment variables by which a child process opens the same platform."""
        clock = {"TREADLE_CLOCK": str(self.folder / "clock")} if self.manual_clock else {}
        return {"TREADLE_SETTINGS": to_json(self).decode(), **clock}

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the home's addresses need."""
        names = set().union(*(variables_of(self.address(port)) for port in PORTS))
        return {name: os.environ[name] for name in sorted(names)}

    def clock(self) -> Clock:
        """Return the clock that the home's processes share."""
        return ManualClock(file=self.folder / "clock") if self.manual_clock else SystemClock()


def from_environment() -> Settings:
    """Return the settings that the parent process has handed on.

    Raises:
        Invalid: ``TREADLE_SETTINGS`` is missing or damaged.
        Conflict: A variable that an address refers to names another place in this process.
    """
    text = os.environ.get("TREADLE_SETTINGS")
    if not text:
        raise Invalid(
            "This process was started without TREADLE_SETTINGS; start it through treadle."
        )
    settings = from_json(text, Settings)
    for port in PLACED:
        if settings.place(port) != place_of(settings.address(port)):
            raise Conflict(
                f"The home's {port} is {settings.place(port)}, and "
                f"{without_password(settings.address(port))} leads elsewhere in this process. "
                "Start 'treadle up' again with the variable of now."
            )
    return settings


def settings_for(home: Path, **given: Any) -> Settings:
    """Return a home's settings.

    An address is the given one, else the one that an environment variable declares, else the one
    that the home remembers, else that of the embedded backend.

    Args:
        home: The home's folder; it is made if absent.
        **given: Fields of ``Settings`` that the home remembers from now on; empty are left out.

    Raises:
        Invalid: The home is a file, its settings are damaged, no backend handles a given URL, or
            it holds a password.
        Conflict: The home holds records, and another database or blob store is given; or the
            database is that of another home.
    """
    return _settings(home, declared_addresses(), given)


def private_settings(home: Path, **given: Any) -> Settings:
    """Return the settings of a home for the work at hand, whatever environment variables declare.

    Args:
        home: The home's folder; it is made if absent.
        **given: Fields of ``Settings``; empty are left out.
    """
    return _settings(home, {}, given)


def _settings(home: Path, declared: dict[str, str], given: dict[str, Any]) -> Settings:
    home = home.expanduser().resolve()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        _close_to_others(home)
    except (NotADirectoryError, FileExistsError) as error:
        where = "is a file" if home.is_file() else "lies below a file"
        raise Invalid(f"The home '{home}' {where}. Name a folder with --home.") from error
    file = home / FILE
    remembered = remembered_settings(home)
    changes = {name: value for name, value in given.items() if value}
    for port in changes.keys() & set(PORTS):
        changes[port] = for_settings(port, changes[port])
    changes = declared | changes
    settings = replace(remembered, **changes)
    for port in PORTS:
        if settings.address(port) != remembered.address(port):
            # An unknown scheme is refused before it is remembered.
            factory_of(port, resolved(settings.address(port)))
    places = {port: place_of(settings.address(port)) for port in PLACED}
    refuse_other_places(
        home,
        before={port: remembered.place(port) for port in PLACED},
        after=places,
        known=remembered.address("database"),
        given={port: without_password(settings.address(port)) for port in PLACED},
    )
    claim_file(home, places["database"])
    if changes or not file.exists():
        settings = replace(
            settings, places={port: places[port] for port in PLACED if getattr(settings, port)}
        )
    if not file.exists() or settings != remembered:
        remember(settings)
    return settings


def remember(settings: Settings) -> None:
    """Write a home's settings, as a whole and durably.

    Args:
        settings: The settings.
    """
    file = settings.folder / FILE
    write_whole(file, to_json(settings), durable=True, mode=0o600)  # older ones hold passwords


def remembered_settings(home: Path) -> Settings:
    """Return the settings that a home remembers. It is only read.

    Args:
        home: The home's folder.

    Raises:
        Invalid: They are damaged.
    """
    file = home / FILE
    if not file.exists():
        return Settings(home=str(home))
    try:
        return replace(from_json(file.read_bytes(), Settings), home=str(home))
    except Invalid as error:
        raise Invalid(
            f"{file} is damaged: {error.message} Remove it to start with the embedded backends."
        ) from error


def _close_to_others(home: Path) -> None:
    """Let nobody but the owner, and the group where it was let in, look into a home.

    It holds a signing key, tokens' hashes and everybody's data. A folder that is everybody's, such
    as ``/tmp``, stays so.
    """
    status = home.stat()
    shared = status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o007 and not shared and status.st_uid == os.geteuid():
        home.chmod(stat.S_IMODE(status.st_mode) & ~0o007)


def home_of(home: Path | None) -> Path:
    """Return the absolute path of the home that is meant.

    Args:
        home: The home that was named; None takes ``TREADLE_HOME``, else ``.treadle`` beside the
            nearest treadle.toml, else ``.treadle`` here.
    """
    named = home or (Path(os.environ["TREADLE_HOME"]) if os.environ.get("TREADLE_HOME") else None)
    return (named or (nearest(Path.cwd()) or Path.cwd()) / ".treadle").expanduser().resolve()


def user_cache() -> Path:
    """Return the folder of what may be deleted and belongs to no home, as XDG says."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "treadle"


def backends_of(home: Path) -> dict[str, str]:
    """Return a home's backends by port, as URLs without passwords; empty for no home.

    Args:
        home: The home's folder. It is only read.

    Raises:
        Invalid: The home's settings are damaged.
    """
    if not home.is_dir():
        return {}
    settings = replace(remembered_settings(home), **declared_addresses())
    return {port: _shown_or_reference(settings.address(port)) for port in PORTS}


def _shown_or_reference(address: str) -> str:
    try:
        return shown(address)
    except Invalid:
        return address


def default_url(port: str, home: Path) -> str:
    """Return the URL of the embedded backend that a home has unless its settings name another.

    Args:
        port: One of ``PORTS``.
        home: The home's folder.
    """
    return {
        "database": f"sqlite:///{home / 'treadle.db'}",
        "blobs": f"file://{home / 'blobs'}",
        "executor": f"forkserver://{home / 'jobs'}",
        "target": "local:",
        "sandbox": "auto:",
        "online_store": f"sqlite:///{home / 'online.db'}",
    }[port]
