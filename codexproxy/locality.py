"""Pure: no I/O. Where a request comes from, which host it names, and whether another site sent it.

Both planes ask here: the data plane with `facts_from_scope`, the dashboard's gate with the pairs of
Django's request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HeaderPairs = Iterable[tuple[str, str]]

# What proxies add. Any of them says that somebody else stands behind the peer.
_FORWARDING = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "fastly-client-ip",
        "fly-client-ip",
    }
)
_FORWARDING_PREFIX = "x-forwarded-"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a request says of its way here; nothing of it is believed yet, except `peer`."""

    peer: str | None
    host: str = ""
    forwarded: bool = False
    forwarded_for: tuple[str, ...] = ()
    origin: str | None = None
    sec_fetch_site: str | None = None


def facts_from_scope(scope: Mapping[str, Any]) -> Facts:
    """From an ASGI scope."""
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers", ()))
    return facts_from_pairs(peer_of(scope), pairs)


def peer_of(scope: Mapping[str, Any]) -> str | None:
    """The other end of an ASGI scope's connection; a unix socket has no client and becomes None."""
    client = scope.get("client")
    return str(client[0]) if client else None


def facts_from_pairs(peer: str | None, pairs: HeaderPairs) -> Facts:
    host, origin, site = "", None, None
    hops: list[str] = []
    forwarded = False
    for given_name, value in pairs:
        name = given_name.lower()
        forwarded = forwarded or is_forwarding_header(name)
        if name == "x-forwarded-for":
            hops += [part.strip() for part in value.split(",")]
        elif name == "host":
            host = value.strip()
        elif name == "origin":
            origin = value.strip()
        elif name == "sec-fetch-site":
            site = value.strip().lower()
    return Facts(peer or None, host, forwarded, tuple(hops), origin, site)


def is_forwarding_header(name: str) -> bool:
    """`name` in lower case."""
    return name in _FORWARDING or name.startswith(_FORWARDING_PREFIX)


@lru_cache(maxsize=1024)
def parse_address(text: str | None) -> Address | None:
    """An IP literal, with or without brackets and port; an IPv4 address that is mapped into IPv6 is IPv4."""
    literal = _without_port((text or "").strip())
    try:
        address = ipaddress.ip_address(literal.split("%", 1)[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def in_networks(address: Address | None, networks: Iterable[Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def resolve_client(facts: Facts, trusted: Collection[Network]) -> Address | None:
    """The address that the request really comes from; None means unknown, and unknown is a stranger.

    Forwarded headers count only when the peer is a trusted proxy. They are walked from the right,
    past trusted proxies: what stands further left was written by whoever came before them.
    """
    peer = parse_address(facts.peer)
    if peer is None or not facts.forwarded or not in_networks(peer, trusted):
        return peer
    # SECURITY: a trusted proxy that forwards without saying for whom must not lend its own address.
    client: Address | None = None
    teller: Address | None = None
    for hop in reversed(facts.forwarded_for):
        client = parse_address(hop)
        if client is None or (client.is_loopback and teller and not teller.is_loopback):
            # SECURITY: the peer itself may vouch for a client of its own machine. Any hop further left may be
            # a client whose trusted address is a network's gateway, and who has made this one up.
            return None
        if not in_networks(client, trusted):
            return client
        teller = client
    return client


def is_local(facts: Facts, trusted: Collection[Network]) -> bool:
    """Whether the request was made on this very machine.

    SECURITY: being local opens the dashboard and the data plane without a key. A proxy on this machine
    has a loopback address too, so a forwarding header from a peer that is not trusted ends it.
    """
    client = resolve_client(facts, trusted)
    if client is None or not client.is_loopback:
        return False
    if facts.forwarded:
        return in_networks(parse_address(facts.peer), trusted)
    return _is_loopback_host(facts.host)


def host_is_allowed(host: str, named_hosts: Collection[str] = ()) -> bool:
    """Whether a Host header names this machine in a way that a foreign web page cannot arrange.

    SECURITY: DNS rebinding needs a name of the attacker's; IP literals and `localhost` cannot be rebound.
    """
    if parse_address(host) is not None:
        return True
    name = _without_port(host.strip()).lower()
    return name == "localhost" or name in {named.lower() for named in named_hosts}


def is_cross_site(facts: Facts) -> bool:
    """Whether a browser says that the page that sends this request belongs to another site.

    A program sends neither header and is not cross-site.
    """
    if facts.sec_fetch_site is not None and facts.sec_fetch_site not in ("same-origin", "none"):
        return True
    return facts.origin is not None and not _is_same_host(facts.origin, facts.host)


def _is_same_host(origin: str, host: str) -> bool:
    # The scheme is not compared: behind a proxy that ends TLS the page is https and we are not.
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return False
    default = 443 if parts.scheme == "https" else 80
    try:
        ours = urlsplit(f"//{host}")
        our_port = ours.port
    except ValueError:
        return False
    return parts.hostname == ours.hostname and (port or default) == (our_port or default)


def _is_loopback_host(host: str) -> bool:
    address = parse_address(host)
    if address is not None:
        return address.is_loopback
    return _without_port(host.strip()).lower() == "localhost"


def _without_port(text: str) -> str:
    """The name or literal of `name`, `name:port`, `[v6]`, `[v6]:port` or a bare IPv6 literal.

    What is not one of these comes back as it is, and then matches nothing.
    """
    if text.startswith("["):
        literal, bracket, rest = text[1:].partition("]")
        return literal if bracket and ":" in literal and _is_port_suffix(rest) else text
    if text.count(":") == 1:
        name, _, port = text.partition(":")
        return name if port.isdecimal() else text
    return text


def _is_port_suffix(text: str) -> bool:
    return text == "" or (text.startswith(":") and text[1:].isdecimal())
