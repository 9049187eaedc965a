"""Types of ``[incidents]`` and ``[[notify]]``: how alerts become incidents, and who is told."""

import re
from datetime import timedelta
from typing import Literal, get_args
from urllib.parse import unquote_plus, urlsplit

from treadle.kernel.clock import duration
from treadle.kernel.entity import Entity
from treadle.kernel.errors import Invalid, did_you_mean
from treadle.scope.calendars import calendar

Severity = Literal["info", "ticket", "page"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Severities from the least to the most urgent."""
DeclaredSeverity = Literal["off", "info", "ticket", "page"]
AlertKind = Literal[
    "drift",
    "missed requirement",
    "stale model",
    "missing labels",
    "finding",
    "failed monitor",
    "burning budget",
    "failed training",
    "refused candidate",
    "rollback",
    "failed job",
    "alert",
]
ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
REFERENCE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
"""A variable of the environment in an address: ``$NAME`` or ``${NAME}``."""
SECRET_PREFIX = "TREADLE_NOTIFY_"
"""How the names of variables begin that addresses may use.

Who may declare a project could otherwise send any secret of the server anywhere.
"""
FILE_OPTIONS = ("keyfile", "pgp", "pgpprv", "pgppub", "subfile")
"""Options of Apprise's addresses that name files, or URLs, which the server would read."""
SHORTEST_REPEAT = timedelta(minutes=1)
LONGEST = timedelta(days=3650)
"""Longest duration: moments that are further away are those of no calendar."""


class IncidentPolicy(Entity):
    """Table ``[incidents]``: how alerts become incidents.

    Attributes:
        join: Time within which alerts about one endpoint join one incident.
        quiet_windows: Number of windows of monitoring without a finding that clear it.
        reopen: Time after it was resolved within which an incident is opened again by its alert.
        wait: Time for which alerts are gathered before people are told.
        severity: Severity of alerts by their kind; ``off`` ignores them.
        runbook: URL or path of what to do, for alerts whose requirement names none.
    """

    join: str = "1h"
    quiet_windows: int = 2
    reopen: str = "1d"
    wait: str = "30s"
    severity: dict[str, DeclaredSeverity] = {}
    runbook: str = ""


class NotifyRoute(Entity):
    """Table ``[[notify]]``: where incidents are told, and when.

    Attributes:
        to: Address: ``https://`` (or ``webhook+https://``) for JSON, ``alertmanager+http://`` for
            Alertmanager, anything else for Apprise; secrets as variables.
        severity: Severities of incidents that are told; ``page`` and ``ticket`` if empty.
        during: Hours of the week in which it tells; later ones wait for the next. Empty: always.
        after: Time after which it tells of an incident that nobody has acknowledged.
        every: Time after which it tells again until somebody acknowledges. Empty: once.
        secret: Variable with the key that requests are signed with. Empty: not signed.
    """

    to: str
    severity: list[Severity] = []
    during: str = ""
    after: str = "0s"
    every: str = ""
    secret: str = ""

    @property
    def severities(self) -> list[Severity]:
        """Severities of incidents that are told."""
        return self.severity or ["page", "ticket"]


def check_incidents(policy: IncidentPolicy) -> None:
    """Check a policy's durations, numbers and kinds.

    Args:
        policy: The policy.

    Raises:
        Invalid: A value is not allowed; the error names its field.
    """
    for name in ("join", "reopen", "wait"):
        _duration(getattr(policy, name), f"incidents.{name}")
    if policy.quiet_windows < 1:
        raise Invalid(f"Field 'incidents.quiet_windows': {policy.quiet_windows} is less than 1.")
    for kind in policy.severity:
        if kind not in ALERT_KINDS:
            raise Invalid(
                f"Field 'incidents.severity': there is no kind of alert '{kind}'."
                f"{did_you_mean(kind, ALERT_KINDS)}"
            )


def check_route(route: NotifyRoute, field: str) -> None:
    """Check a route's address, calendar and durations.

    Args:
        route: The route.
        field: Name of its table in error messages, such as ``notify[0]``.

    Raises:
        Invalid: A value is not allowed; the error names its field.
    """
    _check_address(route.to, f"{field}.to")
    _duration(route.after, f"{field}.after")
    if route.every and _duration(route.every, f"{field}.every") < SHORTEST_REPEAT:
        raise Invalid(f"Field '{field}.every': '{route.every}' is less than a minute.")
    if route.during:
        try:
            calendar(route.during)
        except Invalid as error:
            raise Invalid(f"Field '{field}.during': {error.message}") from error
    if route.secret and not REFERENCE.fullmatch(route.secret):
        raise Invalid(
            f"Field '{field}.secret': a key does not belong into the file. Put it into a variable, "
            f'and write: secret = "${SECRET_PREFIX}KEY"'
        )
    _check_variables(route.secret, f"{field}.secret")


def shown(to: str) -> str:
    """An address without what may be secret in it: its scheme, and its host or variables.

    Args:
        to: The address, as ``[[notify]]`` has it.
    """
    if match := REFERENCE.match(to):
        return match[0]
    scheme, _, rest = to.partition("://")
    if scheme.rpartition("+")[2] in ("http", "https"):
        host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        return f"{scheme}://{host}"
    names = [match[0] for match in REFERENCE.finditer(rest)]
    return f"{scheme}://{'/'.join(names) or '…'}"


def refuse_files(to: str) -> None:
    """Refuse options of one of Apprise's addresses that name files or URLs for the server to read.

    Args:
        to: The address, of any scheme; only those of Apprise have such options.

    Raises:
        Invalid: It has one.
    """
    scheme, _, rest = to.partition("://")
    if scheme.rpartition("+")[2] in ("http", "https"):
        return
    for pair in re.split(r"[?&;]", rest)[1:]:
        name, value = (unquote_plus(part).strip() for part in pair.partition("=")[::2])
        is_file = name.lower() == "template" and re.search(r"[/\\:.]", value)
        if is_file or name.lower() in FILE_OPTIONS:
            raise Invalid(
                f"Option '{name.lower()}' names a file or URL that the server would read. "
                "Leave it out, or name a service that needs no file."
            )


def _check_address(to: str, field: str) -> None:
    _check_variables(to, field)
    try:
        refuse_files(to)
    except Invalid as error:
        raise Invalid(f"Field '{field}': {error.message}") from error
    if REFERENCE.match(to):
        return
    scheme, colon, _ = to.partition("://")
    if not colon or not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme):
        raise Invalid(
            f"Field '{field}': '{to[:80]}' is no address. Write one such as "
            f"'https://example.com/hook', 'mailto://${SECRET_PREFIX}MAIL' or 'ntfy://topic'."
        )
    try:
        password = urlsplit(REFERENCE.sub("", to)).password
    except ValueError:
        password = None
    if password:
        raise Invalid(
            f"Field '{field}': a password does not belong into the file. Put it into a variable "
            f"of the server, and write ${SECRET_PREFIX}NAME in its place."
        )


def _check_variables(text: str, field: str) -> None:
    for match in REFERENCE.finditer(text):
        name = match[1] or match[2]
        if not name.startswith(SECRET_PREFIX):
            raise Invalid(
                f"Field '{field}': variable '{name}' cannot be used. Names of variables for "
                f"notifications begin with {SECRET_PREFIX}, so that no other secret is sent."
            )


def _duration(text: str, field: str) -> timedelta:
    try:
        length = duration(text)
    except Invalid as error:
        raise Invalid(f"Field '{field}': {error.message}") from error
    if length > LONGEST:
        raise Invalid(f"Field '{field}': '{text}' is longer than {LONGEST.days}d.")
    return length
