"""The port to what tells people of incidents: other programs, Alertmanager, mail and chat."""

from datetime import datetime
from typing import Any, Literal, Protocol

from treadle.kernel.entity import Entity

GROUP = "notifier"
"""The name of the port; backends of other packages are the entry points ``treadle.notifier``."""


class Notice(Entity):
    """What a notifier tells.

    Attributes:
        id: Id of the notice; it stays the same when it is sent again.
        at: When it is sent.
        change: What has happened: ``opened``, ``reopened``, ``raised``, ``acknowledged``,
            ``resolved``, ``reminder``, or ``test``.
        severity: How urgent it is.
        title: What it is about, on one line.
        text: The notice in plain text, several lines.
        labels: What Alertmanager tells alerts apart by; they stay the same for an incident.
        since: When the incident was opened.
        data: The notice for programs.
    """

    id: str
    at: datetime
    change: str
    severity: Literal["info", "ticket", "page"]
    title: str
    text: str
    labels: dict[str, str]
    since: datetime
    data: dict[str, Any]


class Notifier(Protocol):
    """Sends notices to one address, in the time that a request takes.

    - ``send`` returns when the receiver has taken the notice. It may be called again with the same
      notice, which its id tells.
    - What it raises holds no secret of the address.
    """

    def send(self, notice: Notice) -> None:
        """Send a notice.

        Args:
            notice: The notice.

        Raises:
            Unavailable: The receiver did not take it; it may later.
            Invalid: The receiver will never take it: the address is wrong or may not be reached.
        """


class OpenNotifier(Protocol):
    """Gives the notifier of an address."""

    def __call__(self, to: str, secret: str = "") -> Notifier:
        """Give the notifier.

        Args:
            to: The address, as ``[[notify]]`` has it.
            secret: Variable with the key that requests are signed with; empty for none.

        Raises:
            Unavailable: A variable that the address names is not set.
            Invalid: Nothing can send to the address.
        """
