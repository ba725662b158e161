"""Who a request comes from, in tables."""

from __future__ import annotations

import ipaddress

import pytest

from codexproxy.locality import (
    Facts,
    facts_from_scope,
    host_is_allowed,
    is_cross_site,
    is_local,
    resolve_client,
)

LOOPBACK = (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))
DOCKER = (*LOOPBACK, ipaddress.ip_network("172.16.0.0/12"))


def facts(peer: str | None = "127.0.0.1", **headers: str) -> Facts:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return facts_from_scope({"client": (peer, 1) if peer else None, "headers": pairs})


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded_for", "expected"),
    [
        ((), "127.0.0.1", "198.51.100.10", "127.0.0.1"),
        (LOOPBACK, "127.0.0.1", "198.51.100.10", "198.51.100.10"),
        (LOOPBACK, "198.51.100.25", "198.51.100.10, 203.0.113.20", "198.51.100.25"),
        # From the right: the proxy saw 203.0.113.20; the rest is what that client claimed.
        (LOOPBACK, "127.0.0.1", "198.51.100.10, 203.0.113.20", "203.0.113.20"),
        (LOOPBACK, "127.0.0.1", "127.0.0.1, 203.0.113.20", "203.0.113.20"),
        # Trusted hops are passed over.
        (DOCKER, "127.0.0.1", "1.1.1.1, 198.51.100.10, 172.17.0.2", "198.51.100.10"),
        (DOCKER, "127.0.0.1", "172.17.0.9, 172.17.0.2", "172.17.0.9"),
        (LOOPBACK, "127.0.0.1", "garbage", None),
        (LOOPBACK, "127.0.0.1", "", None),
        (LOOPBACK, "127.0.0.1", "198.51.100.10, garbage", None),
        (LOOPBACK, "127.0.0.1", "garbage, 198.51.100.10", "198.51.100.10"),
        (LOOPBACK, "127.0.0.1", None, "127.0.0.1"),
        # A client whose address the container's network hides claims to be this machine.
        (DOCKER, "172.17.0.2", "127.0.0.1, 172.17.0.1", None),
        (DOCKER, "127.0.0.1", "::1, 172.17.0.1", None),
        (DOCKER, "172.17.0.2", "127.0.0.1", "127.0.0.1"),
        (DOCKER, "127.0.0.1", "127.0.0.1, 127.0.0.1", "127.0.0.1"),
        (DOCKER, "172.17.0.2", "172.17.0.9, 172.17.0.1", "172.17.0.9"),
        (LOOPBACK, None, "198.51.100.10", None),
        ((), None, None, None),
        # IPv6, mapped addresses, ports.
        (LOOPBACK, "::1", "2001:DB8:0:0::1", "2001:db8::1"),
        (LOOPBACK, "::ffff:127.0.0.1", "::ffff:198.51.100.10", "198.51.100.10"),
        (LOOPBACK, "127.0.0.1", "198.51.100.10:4711", "198.51.100.10"),
        (LOOPBACK, "127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ((), "fe80::1%eth0", None, "fe80::1"),
    ],
)
def test_the_client_is_resolved_through_trusted_proxies_only(
    trusted: tuple[ipaddress.IPv4Network, ...],
    peer: str | None,
    forwarded_for: str | None,
    expected: str | None,
) -> None:
    headers = {} if forwarded_for is None else {"x_forwarded_for": forwarded_for}
    client = resolve_client(facts(peer, **headers), trusted)
    assert client == (ipaddress.ip_address(expected) if expected else None)


def test_a_trusted_proxy_that_does_not_name_its_client_leaves_it_unknown() -> None:
    assert resolve_client(facts("127.0.0.1", x_forwarded_proto="https"), LOOPBACK) is None
    assert resolve_client(facts("127.0.0.1", x_real_ip="127.0.0.1"), LOOPBACK) is None


def test_several_forwarding_lines_are_one_list() -> None:
    pairs = [(b"x-forwarded-for", b"198.51.100.10"), (b"X-Forwarded-For", b"203.0.113.20, 127.0.0.1")]
    scope = {"client": ["127.0.0.1", 1], "headers": pairs}
    assert str(resolve_client(facts_from_scope(scope), LOOPBACK)) == "203.0.113.20"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:2455", "LOCALHOST", "127.0.0.1:2455", "[::1]:2455", "127.9.9.9"]
)
def test_a_loopback_peer_that_names_a_loopback_host_is_local(host: str) -> None:
    assert is_local(facts("127.0.0.1", host=host), ())
    assert is_local(facts("::1", host=host), ())
    assert is_local(facts("::ffff:127.0.0.1", host=host), ())


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "192.168.1.5", "", "127.0.0.1.nip.io"]
)
def test_another_host_name_is_not_local(host: str) -> None:
    assert not is_local(facts("127.0.0.1", host=host), ())


@pytest.mark.parametrize("peer", ["192.168.1.5", "2001:db8::1", "::ffff:192.168.1.5", None, "not an address"])
def test_another_peer_is_not_local(peer: str | None) -> None:
    assert not is_local(facts(peer, host="localhost"), ())


@pytest.mark.parametrize(
    "header",
    [
        "x_forwarded_for",
        "x_forwarded_proto",
        "x_forwarded_host",
        "forwarded",
        "x_real_ip",
        "cf_connecting_ip",
        "true_client_ip",
        "x_client_ip",
        "x_cluster_client_ip",
        "fastly_client_ip",
        "fly_client_ip",
        "via",
    ],
)
def test_any_forwarding_header_from_a_peer_that_is_not_trusted_ends_locality(header: str) -> None:
    assert not is_local(facts("127.0.0.1", host="localhost", **{header: "127.0.0.1"}), ())


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("203.0.113.9", False),
        ("127.0.0.1, 203.0.113.9", False),
        ("garbage", False),
    ],
)
def test_behind_a_trusted_proxy_the_resolved_client_decides(forwarded_for: str, expected: bool) -> None:
    request = facts("127.0.0.1", host="proxy.example", x_forwarded_for=forwarded_for)
    assert is_local(request, LOOPBACK) is expected


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("localhost:2455", True),
        ("127.0.0.1:2455", True),
        ("192.168.1.5", True),
        ("[2001:db8::1]:2455", True),
        ("[::1]", True),
        ("proxy.example", True),
        ("Proxy.Example:8443", True),
        ("evil.example", False),
        ("proxy.example.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("localhost:evil", False),
        ("[localhost]", False),
        ("127.0.0.1@evil.example", False),
        ("", False),
    ],
)
def test_only_names_that_cannot_be_rebound_are_allowed_as_host(host: str, allowed: bool) -> None:
    assert host_is_allowed(host, ["proxy.example"]) is allowed


@pytest.mark.parametrize(
    ("headers", "crossing"),
    [
        ({}, False),
        ({"origin": "http://localhost:2455"}, False),
        ({"origin": "http://localhost:3000"}, True),
        ({"origin": "http://127.0.0.1:2455"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"origin": "http://localhost:notaport"}, True),
        ({"sec_fetch_site": "same-origin"}, False),
        ({"sec_fetch_site": "none"}, False),
        ({"sec_fetch_site": "same-site"}, True),
        ({"sec_fetch_site": "cross-site"}, True),
        ({"origin": "http://localhost:2455", "sec_fetch_site": "cross-site"}, True),
    ],
)
def test_a_request_of_another_site_is_recognised(headers: dict[str, str], crossing: bool) -> None:
    assert is_cross_site(facts(host="localhost:2455", **headers)) is crossing


def test_default_ports_are_the_same_with_and_without_their_number() -> None:
    assert not is_cross_site(facts(host="proxy.example", origin="https://proxy.example"))
    assert not is_cross_site(facts(host="proxy.example:443", origin="https://proxy.example"))
    assert is_cross_site(facts(host="proxy.example:80", origin="https://proxy.example"))
