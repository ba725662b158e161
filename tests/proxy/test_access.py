"""Firewall, key, locality: who may come in, and what the others are told."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from codexproxy.locality import Facts, Network
from proxy.access import (
    Access,
    AccessRules,
    AccessView,
    WrongKey,
    check_access,
    check_key_holder,
    check_usage_access,
)
from proxy.errors import AccessDenied
from proxy.keys import KeyView, key_hash

KEY = "sk-cp-good"
NOW = 1_000.0
HOLDER = KeyView(7, "laptop", accounts=frozenset({"a"}))
LOCAL = Facts("127.0.0.1", "127.0.0.1:2455")
STRANGER = Facts("203.0.113.9", "proxy.lan")


def networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def rules(*listed: str, trusted: tuple[str, ...] = (), required: bool = False, **key: object) -> AccessRules:
    keys = {key_hash(KEY): replace(HOLDER, **key)}  # type: ignore[arg-type]
    view = AccessView(networks(*listed), required, keys=keys)
    return AccessRules(networks(*trusted), ("proxy.lan",), view)


def denied(facts: Facts, given: AccessRules | None = None, key: str = "") -> AccessDenied:
    with pytest.raises(AccessDenied) as caught:
        check_access(facts, given or rules(), key, NOW)
    return caught.value


# --- locality ---------------------------------------------------------------------------------


def test_a_program_on_this_machine_may_connect() -> None:
    assert check_access(LOCAL, rules()) == Access()


def test_a_stranger_is_told_what_to_do() -> None:
    refused = denied(STRANGER)
    assert (refused.status, refused.code, refused.type) == (401, "invalid_api_key", "authentication_error")
    for way in ("dashboard under API keys", "firewall's list", "SSH tunnel"):
        assert way in refused.message


@pytest.mark.parametrize(
    "facts",
    [
        Facts("127.0.0.1", "localhost", forwarded=True, forwarded_for=("203.0.113.9",)),
        Facts("127.0.0.1", "localhost", forwarded=True, forwarded_for=("127.0.0.1",)),
        Facts("203.0.113.9", "localhost", forwarded=True, forwarded_for=("127.0.0.1",)),
        Facts("127.0.0.1", "proxy.lan"),
        Facts("::ffff:203.0.113.9", "localhost"),
        Facts("2001:db8::1", "localhost"),
        Facts(None, "localhost"),
    ],
)
def test_none_of_these_is_local(facts: Facts) -> None:
    assert denied(facts).status == 401


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_all_of_these_are_local(peer: str) -> None:
    assert check_access(Facts(peer, "localhost:2455"), rules()) == Access()


def test_a_trusted_proxy_vouches_for_a_local_client() -> None:
    facts = Facts("10.0.0.1", "proxy.lan", forwarded=True, forwarded_for=("127.0.0.1",))
    assert check_access(facts, rules(trusted=("10.0.0.0/8",))) == Access()


def test_a_web_page_of_another_site_is_refused() -> None:
    assert denied(Facts("127.0.0.1", "localhost:2455", origin="https://evil.example")).status == 403
    assert denied(Facts("127.0.0.1", "localhost:2455", sec_fetch_site="cross-site")).status == 403


def test_a_rebound_name_is_refused() -> None:
    assert denied(Facts("127.0.0.1", "evil.example", origin="http://evil.example")).code == "host_forbidden"


# --- the firewall -----------------------------------------------------------------------------

ONE = ("198.51.100.10",)
BEHIND = {"forwarded": True, "forwarded_for": ("198.51.100.10", "203.0.113.20")}


@pytest.mark.parametrize(
    ("trusted", "facts", "is_admitted"),
    [
        # Nobody is trusted: the peer is the client, whatever a header says.
        ((), Facts("127.0.0.1", **BEHIND), False),
        ((), Facts("198.51.100.10"), True),
        # Multi-hop: walked from the right, past trusted proxies only.
        (("127.0.0.1", "203.0.113.20"), Facts("127.0.0.1", **BEHIND), True),
        (("127.0.0.1",), Facts("127.0.0.1", **BEHIND), False),
        # Spoofed: an untrusted peer claims the listed address, or a client puts it further left.
        (("127.0.0.1",), Facts("198.51.100.25", **BEHIND), False),
        (("10.0.0.1",), Facts("10.0.0.1", forwarded=True, forwarded_for=("198.51.100.10", "9.9.9.9")), False),
        # A proxy that says nothing usable lends nobody its own address.
        (("198.51.100.10",), Facts("198.51.100.10", forwarded=True, forwarded_for=("garbage",)), False),
        (("198.51.100.10",), Facts("198.51.100.10", forwarded=True), False),
        # Mapped into IPv6, and unknown.
        ((), Facts("::ffff:198.51.100.10"), True),
        ((), Facts(None), False),
        ((), Facts("not an address"), False),
    ],
)
def test_the_list_admits_its_addresses_only(
    trusted: tuple[str, ...], facts: Facts, is_admitted: bool
) -> None:
    given = rules(*ONE, trusted=trusted)
    if is_admitted:
        assert check_access(facts, given, KEY, NOW).key_id == 7
    else:
        refused = denied(facts, given, KEY)
        assert (refused.status, refused.code, refused.type) == (403, "ip_forbidden", "access_error")
        assert refused.message == "Access denied for client IP"


@pytest.mark.parametrize(
    ("listed", "peer", "is_admitted"),
    [
        ("2001:db8::/32", "2001:DB8:0:0::1", True),
        ("2001:db8::1", "2001:db8::2", False),
        ("192.168.1.0/24", "192.168.1.77", True),
        ("192.168.1.0/24", "192.168.2.1", False),
        ("192.168.1.0/24", "::ffff:192.168.1.77", True),
    ],
)
def test_networks_and_ipv6(listed: str, peer: str, is_admitted: bool) -> None:
    facts = Facts(peer, "proxy.lan")
    if is_admitted:
        assert check_access(facts, rules(listed)) == Access()
    else:
        assert denied(facts, rules(listed)).status == 403


def test_an_empty_list_admits_everybody_with_a_key() -> None:
    assert check_access(STRANGER, rules(), KEY, NOW).key_id == 7


def test_the_list_refuses_this_machine_too() -> None:
    assert denied(LOCAL, rules("198.51.100.10")).code == "ip_forbidden"


def test_the_firewall_comes_before_the_key() -> None:
    assert denied(STRANGER, rules("198.51.100.10"), "sk-cp-wrong").code == "ip_forbidden"


def test_a_listed_peer_needs_no_key_unless_everyone_does() -> None:
    peer = Facts("198.51.100.10", "proxy.lan")
    assert check_access(peer, rules(*ONE)) == Access()
    assert denied(peer, rules(*ONE, required=True)).status == 401


def test_an_unknown_proxy_at_a_listed_address_does_not_lend_it() -> None:
    lent = Facts("198.51.100.10", "proxy.lan", forwarded=True, forwarded_for=("9.9.9.9",))
    assert denied(lent, rules(*ONE)).status == 401
    assert check_access(lent, rules(*ONE), KEY, NOW).key_id == 7


# --- the key ----------------------------------------------------------------------------------


def test_a_key_opens_from_anywhere_and_brings_its_rights() -> None:
    access = check_access(STRANGER, rules(required=True), KEY, NOW)
    assert (access.key_id, access.owner, access.accounts) == (7, "key 7", frozenset({"a"}))


def test_while_keys_are_required_this_machine_needs_one_too() -> None:
    refused = denied(LOCAL, rules(required=True))
    assert refused.message.startswith("Missing API key in Authorization header")
    assert (b"www-authenticate", b"Bearer") in refused.headers


@pytest.mark.parametrize(
    ("key", "fields", "message"),
    [
        ("sk-cp-wrong", {}, "Invalid API key"),
        ("eyJ.a.chatgpt-token", {}, "Invalid API key"),
        (KEY, {"enabled": False}, "The API key is disabled"),
        (KEY, {"expires_at": NOW}, "API key has expired"),
    ],
)
def test_a_key_that_opens_nothing_is_told_why(key: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(WrongKey, match=message) as caught:
        check_access(STRANGER, rules(required=True, **fields), key, NOW)
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert KEY not in caught.value.message


def test_a_clients_own_token_is_ignored_while_keys_are_not_required() -> None:
    assert check_access(LOCAL, rules(), "eyJ.a.chatgpt-token", NOW) == Access()


def test_a_revoked_key_does_not_become_a_local_client() -> None:
    assert denied(LOCAL, rules(enabled=False), KEY).status == 401


def test_a_key_ends_at_its_very_moment() -> None:
    assert check_access(LOCAL, rules(expires_at=NOW + 0.001), KEY, NOW).key_id == 7


def test_a_page_with_a_key_may_be_anywhere() -> None:
    page = Facts("203.0.113.9", "chat.example", origin="https://chat.example", sec_fetch_site="cross-site")
    assert check_access(page, rules(), KEY, NOW).key_id == 7


# --- what belongs to a key, and the pool's figures ----------------------------------------------


def test_a_keys_own_figures_always_need_the_key() -> None:
    assert check_key_holder(STRANGER, rules(), KEY, NOW).key_id == 7
    for given, key in ((rules(), ""), (rules(), "sk-cp-wrong"), (rules("198.51.100.10"), KEY)):
        with pytest.raises(AccessDenied):
            check_key_holder(STRANGER, given, key, NOW)


@pytest.mark.parametrize(
    ("required", "totp", "session", "key", "status"),
    [
        (False, False, False, "", 200),
        (False, False, False, "eyJ.of.chatgpt", 200),
        (False, False, False, "sk-cp-wrong", 401),
        (False, True, False, "", 401),
        (False, True, True, "", 200),
        (False, True, False, KEY, 200),
        (True, False, False, "", 401),
        (True, True, True, "", 401),
        (True, True, False, KEY, 200),
        (True, False, False, "eyJ.of.chatgpt", 401),
    ],
)
def test_the_pools_figures(required: bool, totp: bool, session: bool, key: str, status: int) -> None:
    # The list would refuse whoever asks; it does not cover this address.
    given = rules("198.51.100.10", required=required)
    given = replace(given, view=replace(given.view, totp_required=totp))
    try:
        check_usage_access(given, key, NOW, has_session=session)
        found = 200
    except AccessDenied as refused:
        found = refused.status
        assert refused.code == ("totp_required" if totp and not required and not key else "invalid_api_key")
    assert found == status
