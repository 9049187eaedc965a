"""Where a home is and which backends it uses.

Settings are remembered in the home, and handed to child processes by environment variables.
"""

import os
import re
import stat
from pathlib import Path
from typing import Any

from treadle.kernel.clock import Clock, ManualClock, SystemClock
from treadle.kernel.entity import Entity, from_json, replace, to_json
from treadle.kernel.errors import Invalid
from treadle.kernel.files import write_whole
from treadle.kernel.plugins import factory_of
from treadle.scope.file import nearest

FILE = "settings.json"
PORTS = ("database", "blobs", "executor", "target", "sandbox", "online_store")


class Settings(Entity):
    """A home's settings. Empty URLs mean the embedded backends inside the home.

    With ``manual_clock`` the home's time is what its file ``clock`` says. ``oidc`` is the file that
    declares how people sign in, or ``off``.
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

    def clock(self) -> Clock:
        """Return the clock that the home's processes share."""
        return ManualClock(file=self.folder / "clock") if self.manual_clock else SystemClock()


def from_environment() -> Settings:
    """Return the settings that the parent process has handed on.

    Raises:
        Invalid: ``TREADLE_SETTINGS`` is missing or damaged.
    """
    text = os.environ.get("TREADLE_SETTINGS")
    if not text:
        raise Invalid(
            "This process was started without TREADLE_SETTINGS; start it through treadle."
        )
    return from_json(text, Settings)


def settings_for(home: Path, **given: Any) -> Settings:
    """Return a home's settings: what is given, else what it remembers, else the embedded backends.

    Args:
        home: The home's folder; it is made if absent.
        **given: Fields of ``Settings`` that the home remembers from now on; empty are left out.

    Raises:
        Invalid: The home is a file, its settings are damaged, or no backend handles a given URL.
    """
    home = home.expanduser().resolve()
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        home.mkdir(mode=0o700, exist_ok=True)
        _close_to_others(home)
    except (NotADirectoryError, FileExistsError) as error:
        where = "is a file" if home.is_file() else "lies below a file"
        raise Invalid(f"The home '{home}' {where}. Name a folder with --home.") from error
    file = home / FILE
    remembered = _remembered(file) if file.exists() else Settings(home=str(home))
    for port in PORTS:
        if given.get(port):
            factory_of(port, given[port])  # an unknown scheme is refused before it is remembered
    changes = {name: value for name, value in given.items() if value}
    settings = replace(remembered, home=str(home), **changes)
    if not file.exists() or settings != remembered:
        content = to_json(settings)
        write_whole(file, content, mode=0o600)  # a database's URL may hold a password
    return settings


def _close_to_others(home: Path) -> None:
    """Let nobody but the owner, and the group where it was let in, look into a home.

    It holds a signing key, tokens' hashes and everybody's data. A folder that is everybody's, such
    as ``/tmp``, stays so.
    """
    status = home.stat()
    shared = status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o007 and not shared and status.st_uid == os.geteuid():
        home.chmod(stat.S_IMODE(status.st_mode) & ~0o007)


def _remembered(file: Path) -> Settings:
    try:
        return from_json(file.read_bytes(), Settings)
    except Invalid as error:
        raise Invalid(
            f"{file} is damaged: {error.message} Remove it to start with the embedded backends."
        ) from error


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
    file = home / FILE
    settings = _remembered(file) if file.exists() else Settings(home=str(home))
    return {
        port: without_password(getattr(settings, port) or default_url(port, home)) for port in PORTS
    }


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


def without_password(url: str) -> str:
    """Return a URL whose password, in its user part or its query, reads ``***``.

    Args:
        url: Any URL.
    """
    url = re.sub(r"(?<=://)([^/@:]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token|key)[^=&]*=)[^&]*", r"\1***", url)


def backend(port: str, url: str, *arguments: Any) -> Any:
    """Make the backend that a URL's scheme names.

    Args:
        port: The port's name, such as ``blobs``.
        url: The backend's URL.
        *arguments: What backends of this port take after the URL.

    Raises:
        Invalid: No backend handles the URL.
    """
    return factory_of(port, url)(url, *arguments)
