"""Tells people by mail, chat and push, through Apprise."""

import logging
import re
import threading
from typing import Any
from urllib.parse import urlsplit

from treadle.kernel.errors import Invalid, Unavailable, missing_extra
from treadle.ports.notifier import Notice
from treadle.registry.addresses import reachable
from treadle.scope.alerting import refuse_files

_OF_THIS_MACHINE = ("blink1", "dbus", "glib", "gnome", "macosx", "syslog", "windows")
"""Services that would act on the server itself."""
_WITH_KEY_FILES = ("deltachat", "vapid")
"""Services whose keys are files of the server."""
_KINDS = {"page": "failure", "ticket": "warning", "info": "info"}
_MENTION = re.compile(r"@(?=(?:everyone|channel|here|all|room)\b)|<(?=[!@#])")
"""What calls everybody in a chat."""


class Apprise:
    """Sends notices to one of Apprise's URLs, as plain text.

    Apprise looks names up by itself: they are checked before, and redirects are not followed.

    Args:
        url: Apprise's URL, with its secrets.

    Raises:
        Invalid: Apprise is not installed, or does not know such a URL, or the URL would act on
            this machine.
    """

    def __init__(self, url: str) -> None:
        try:
            import apprise
        except ModuleNotFoundError as error:
            raise missing_extra("notify", "Telling people by mail, chat or push") from error
        refuse_files(url)
        asset = apprise.AppriseAsset(app_id="Treadle", secure_logging=True)
        asset.http_redirects = False
        with _Trouble() as trouble:
            service: Any = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        scheme = url.partition(":")[0]
        if service is None:
            raise Invalid(f"Apprise takes no such '{scheme}:' URL. {trouble.words}".strip())
        modules = type(service).__module__.split(".")
        if any(module in _OF_THIS_MACHINE for module in modules):
            raise Invalid(f"A '{scheme}:' URL would act on the server itself. Name another one.")
        files = [v for v in vars(service).values() if isinstance(v, apprise.AppriseAttachment)]
        if any(map(len, files)) or any(module in _WITH_KEY_FILES for module in modules):
            raise Invalid(
                f"This '{scheme}:' URL lets the server read a file or another URL. Leave the "
                "option out, or name a service that needs no file."
            )
        service.redirects = False
        service.discovery = False  # of Matrix: a host that was checked would name one that was not
        self._service = service
        self._format = apprise.NotifyFormat.TEXT

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Args:
            notice: The notice.

        Raises:
            Unavailable: The service did not take it.
            Invalid: The service may not be reached.
        """
        self._refuse_private()
        with _Trouble() as trouble:
            sent = self._service.notify(
                body=without_mentions(notice.text),
                title=without_mentions(notice.title),
                notify_type=_KINDS[notice.severity],
                body_format=self._format,
            )
        if not sent:
            raise Unavailable(f"The service did not take it. {trouble.words}".strip())

    def _refuse_private(self) -> None:
        """Refuse hosts that may not be reached, where the URL names some."""
        try:
            for host in _hosts(self._service):
                reachable(host)
        except OSError as error:
            raise Unavailable(f"The host is not known: {error}") from error


def _hosts(service: Any) -> list[str]:
    """The hosts that a service of Apprise's is going to ask, as far as the URL names them."""
    named = any("{host}" in template for template in service.templates)
    host = getattr(service, "smtp_host", "") or (service.host if named else "")
    relays = [urlsplit(url).hostname for url in getattr(service, "relays", ())]
    endpoint = getattr(service, "endpoint", "")  # of Azure Communication Services
    return [str(name) for name in (host, endpoint, *relays) if name]


def without_mentions(text: str) -> str:
    """Text in which nothing calls everybody in a chat.

    Args:
        text: Any text.
    """
    return _MENTION.sub(lambda match: match[0] + "\u200b", text)


class _Trouble(logging.Filter):
    """Gathers what Apprise logs in this thread, in the place of the log: it may hold secrets."""

    def __init__(self) -> None:
        super().__init__()
        self._thread, self._lines = threading.get_ident(), list[str]()

    @property
    def words(self) -> str:
        """What was logged, on one line."""
        return " ".join(" ".join(self._lines).split())[:300]

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a line of this thread, and let those of others pass.

        Args:
            record: The line.
        """
        if threading.get_ident() != self._thread:
            return True
        if record.levelno >= logging.WARNING:
            self._lines.append(record.getMessage())
        return False

    def __enter__(self) -> "_Trouble":
        logging.getLogger("apprise").addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeFilter(self)
