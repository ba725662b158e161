"""Whether other machines can reach this server at all: what it listens on."""

from __future__ import annotations

import ipaddress

from django.http import HttpRequest

from codexproxy import locality

_hosts: list[str] = []


def listening_on(host: str) -> None:
    """Told by the server command before it serves; workers inherit it."""
    _hosts[:] = [host]


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%", 1)[0]).is_loopback
    except ValueError:
        # A name, or nothing, which stands for every address.
        return False


def is_known_beyond_loopback() -> bool:
    return bool(_hosts) and not is_loopback(_hosts[0])


def is_beyond_loopback(request: HttpRequest) -> bool:
    """Under another server command only the address that this request came in by is known."""
    if _hosts:
        return not is_loopback(_hosts[0])
    address = locality.parse_address(str(request.META.get("SERVER_NAME", "")))
    return address is not None and not address.is_loopback
