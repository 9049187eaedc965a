"""Opens the notifier of an address, with the secrets of this process's environment."""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import quote

from treadle.kernel.errors import Invalid, TreadleError, Unavailable
from treadle.kernel.plugins import registered
from treadle.kernel.stage import loaded
from treadle.ports.notifier import GROUP, Notice, Notifier
from treadle.scope.alerting import REFERENCE, SECRET_PREFIX

_SIGNED = "treadle.backends.notifier.webhook:Webhook"
_ALERTMANAGER = "treadle.backends.notifier.alertmanager:Alertmanager"
_APPRISE = "treadle.backends.notifier.apprise:Apprise"
BUILT_IN = {
    **dict.fromkeys(("http", "https", "webhook+http", "webhook+https"), _SIGNED),
    **dict.fromkeys(("alertmanager+http", "alertmanager+https"), _ALERTMANAGER),
}
"""Notifiers by the scheme of their addresses; Apprise has all others."""
SHORTEST_SECRET = 4
"""Characters from which on a secret is taken out of what errors say."""
SHORTEST_PART = 8
"""Characters from which on a part of a secret address is taken out, too."""
_PARTS = re.compile(r"[/:@?&=#]+")


def open_notifier(to: str, secret: str = "") -> Notifier:
    """Open the notifier of an address.

    Args:
        to: The address, as ``[[notify]]`` has it: variables in it are replaced.
        secret: Variable with the key that requests are signed with; empty for none.

    Returns:
        The notifier; its errors name variables in the place of their values.

    Raises:
        Unavailable: A variable that the address names is not set.
        Invalid: Nothing can send to the address.
    """
    secrets: dict[str, str] = {}
    address, key = _filled(to, secrets), _filled(secret, secrets)
    try:
        return Discreet(_opened(address, key), secrets)
    except TreadleError as error:
        raise type(error)(without(secrets, error.message)) from None


class Discreet:
    """A notifier whose errors hold no secret.

    Args:
        notifier: The notifier.
        secrets: Secrets by the variables that hold them.
    """

    def __init__(self, notifier: Notifier, secrets: Mapping[str, str]) -> None:
        self._notifier, self._secrets = notifier, secrets

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Args:
            notice: The notice.

        Raises:
            Unavailable: The receiver did not take it; it may later.
            Invalid: The receiver will never take it.
        """
        try:
            with _unlogged():
                self._notifier.send(notice)
        except Exception as error:
            kind = Unavailable if getattr(error, "retry", True) else Invalid
            text = error.message if isinstance(error, TreadleError) else type(error).__name__
            raise kind(without(self._secrets, text)) from None


class _Unlogged(logging.Filter):
    """Drops what libraries log of requests in threads that send notices: URLs hold secrets."""

    sending = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002
        """Whether a record is logged.

        Args:
            record: The record, which plays no part.
        """
        return not getattr(self.sending, "now", False)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Let this thread's requests leave no line in a log within the block."""
    for name in _LOG_URLS:
        logging.getLogger(name).addFilter(_FILTER)  # a second time does nothing
    _FILTER.sending.now = True
    try:
        yield
    finally:
        _FILTER.sending.now = False


_FILTER = _Unlogged()
_LOG_URLS = ("httpx", "httpcore.connection", "httpcore.http11", "urllib3.connectionpool")


def without(secrets: Mapping[str, str], text: str) -> str:
    """Text with the names of variables in the place of their values.

    Args:
        secrets: Secrets by the variables that hold them.
        text: Any text.
    """
    for name, value in secrets.items():
        whole = {form for form in (value, quote(value), quote(value, safe="")) if _is_long(form)}
        parts = {part for part in _PARTS.split(value) if len(part) >= SHORTEST_PART}
        for form in (*sorted(whole, key=len, reverse=True), *sorted(parts, key=len, reverse=True)):
            text = text.replace(form, f"${name}")
    return text


def _is_long(secret: str) -> bool:
    return len(secret) >= SHORTEST_SECRET


def _opened(address: str, key: str) -> Notifier:
    scheme = address.partition("://")[0]
    known: dict[str, Callable[..., Notifier]] = {
        entry.name: entry.load() for entry in registered(f"treadle.{GROUP}") if entry.name == scheme
    }
    factory = known.get(scheme) or loaded(BUILT_IN.get(scheme, _APPRISE))
    if key and BUILT_IN.get(scheme) != _SIGNED and scheme not in known:
        raise Invalid(f"Field 'secret': what goes to '{scheme}:' is not signed. Leave it out.")
    notifier: Notifier = factory(address, key) if key else factory(address)
    return notifier


def _filled(text: str, secrets: dict[str, str]) -> str:
    """Text with the values of its variables, which are added to ``secrets``."""
    for match in REFERENCE.finditer(text):
        name = match[1] or match[2]
        value = os.environ.get(name, "") if name.startswith(SECRET_PREFIX) else ""
        if not value:
            raise Unavailable(f"Variable '{name}' is not set. Start the server with it.")
        secrets[name] = value
    return REFERENCE.sub(lambda match: secrets[match[1] or match[2]], text)
