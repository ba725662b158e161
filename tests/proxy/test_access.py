from __future__ import annotations

import ipaddress

import pytest

from codexproxy.locality import Facts
from proxy.access import AccessRules, check_access
from proxy.errors import AccessDenied

RULES = AccessRules(named_hosts=("proxy.lan",))


def denied(facts: Facts, rules: AccessRules = RULES) -> int:
    with pytest.raises(AccessDenied) as caught:
        check_access(facts, rules)
    return caught.value.status


def test_a_program_on_this_machine_may_connect() -> None:
    check_access(Facts("127.0.0.1", "127.0.0.1:2455"), RULES)


def test_a_stranger_is_told_what_to_do() -> None:
    with pytest.raises(AccessDenied, match="SSH tunnel"):
        check_access(Facts("203.0.113.9", "proxy.lan"), RULES)


def test_a_proxy_on_this_machine_does_not_make_its_clients_local() -> None:
    assert denied(Facts("127.0.0.1", "localhost", forwarded=True, forwarded_for=("203.0.113.9",))) == 401


def test_a_trusted_proxy_vouches_for_a_local_client() -> None:
    rules = AccessRules(trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),))
    check_access(Facts("10.0.0.1", "proxy.lan", forwarded=True, forwarded_for=("127.0.0.1",)), rules)


def test_a_web_page_of_another_site_is_refused() -> None:
    assert denied(Facts("127.0.0.1", "localhost:2455", origin="https://evil.example")) == 403
    assert denied(Facts("127.0.0.1", "localhost:2455", sec_fetch_site="cross-site")) == 403


def test_a_rebound_name_is_refused() -> None:
    assert denied(Facts("127.0.0.1", "evil.example", origin="http://evil.example")) == 403
