"""Which addresses webhooks may reach: public ones, and those that whoever runs the server allows.

A subscription names a URL, and the server asks it from where it stands: without this it would ask
services of its own machine and network, such as a cloud's service for credentials.
"""

import ipaddress
import os
import socket
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from treadle.kernel.errors import Invalid

ALLOWED = "TREADLE_WEBHOOK_HOSTS"
"""The variable with host names, addresses and networks, separated by commas, that are allowed
although they are not public.
"""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Destination(NamedTuple):
    """Where a request goes.

    Attributes:
        url: The URL with the address in the place of the host's name.
        host: The host as the URL had it, for the header ``Host`` and for TLS.
        server_name: The host's name alone.
    """

    url: str
    host: str
    server_name: str


def parsed(url: str) -> SplitResult:
    """Take a URL apart.

    Args:
        url: A URL of http or https.

    Raises:
        Invalid: It is none, or has characters that no URL has.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError where it is no number
    except ValueError as error:
        raise Invalid(f"Invalid webhook URL: '{url[:200]}': {error}.") from error
    printable = url.isascii() and all(" " < letter < "\x7f" for letter in url)
    if not printable or parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(
            f"Invalid webhook URL: {url[:200]!r}. It begins with http:// or https:// and has no "
            "spaces or other characters that a URL has to escape."
        )
    return parts


def destination(url: str) -> Destination:
    """Look a URL's host up, once, and refuse an address that webhooks may not reach.

    Args:
        url: The URL.

    Raises:
        Invalid: The URL is malformed, or its host has an address that is not allowed.
        OSError: The host's name is not known.
    """
    parts = parsed(url)
    host = str(parts.hostname)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = reachable(host, port)
    shown = f"[{addresses[0]}]" if addresses[0].version == 6 else str(addresses[0])
    return Destination(
        parts._replace(netloc=f"{shown}:{port}").geturl(), parts.netloc.rpartition("@")[2], host
    )


def reachable(host: str, port: int | None = None) -> list[Address]:
    """Look a host up, and refuse it where it has an address that may not be reached.

    Args:
        host: The host's name or address.
        port: The port; None for any.

    Returns:
        Its addresses.

    Raises:
        Invalid: One of them is not public and not allowed.
        OSError: The host's name is not known.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]
    for address in addresses:
        if not _may_reach(host, address):
            raise Invalid(
                f"Webhooks do not reach {host} ({address}): the address is not public. If this "
                f"server may ask it, start the server with {ALLOWED}={host}"
            )
    return addresses


def _may_reach(host: str, address: Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_global and not address.is_multicast:
        return True
    allowed = [name.strip() for name in os.environ.get(ALLOWED, "").split(",") if name.strip()]
    return host in allowed or any(_within(address, name) for name in allowed)


def _within(address: Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:  # the name of a host
        return False
