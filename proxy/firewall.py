"""Pure: what may stand on the firewall's list."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from codexproxy.locality import Address, Network, in_networks

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class InvalidEntry(ValueError):
    """Neither an address nor a network; the text says what is wrong."""


def parse_entry(text: str) -> Network:
    """An address becomes a network of one. What is mapped into IPv6 is IPv4. Raises InvalidEntry."""
    given = text.strip()
    try:
        network = ipaddress.ip_network(given)
    except ValueError as error:
        raise InvalidEntry(_reason(given, error)) from None
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        network = ipaddress.ip_network((mapped or "0.0.0.0", network.prefixlen - 96))  # noqa: S104
    if network.prefixlen == 0:
        raise InvalidEntry(f"{given} is everybody. Remove all entries to admit everybody.")
    return network


def entry_text(network: Network) -> str:
    """As it is stored and shown: an address without a length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def shuts_out(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether the list would refuse this address. An empty one refuses nobody."""
    listed = list(networks)
    return bool(listed) and not in_networks(address, listed)


def _reason(given: str, error: ValueError) -> str:
    try:
        network = ipaddress.ip_network(given, strict=False)
    except ValueError:
        return f"{given!r} is neither an IP address nor a network such as 192.168.1.0/24."
    return f"{given} is an address within a network. Did you mean the network {network}?"
