from __future__ import annotations

import pytest

from proxy.headers import for_fallback, for_handshake, forwarded, pool_limits, returned, signed
from proxy.routing import Window


@pytest.mark.parametrize(
    "name",
    [
        b"authorization", b"chatgpt-account-id", b"x-api-key", b"cookie", b"host", b"content-length",
        b"content-encoding", b"transfer-encoding", b"connection", b"x-forwarded-for", b"x-forwarded-proto",
        b"forwarded", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip", b"via", b"te",
    ],
)  # fmt: skip
def test_what_names_the_client_or_the_connection_stays_here(name: bytes) -> None:
    assert name not in dict(forwarded([(name, b"x")]))


def test_the_clients_own_headers_pass() -> None:
    given = [
        (b"user-agent", b"codex_exec/0.169.0"),
        (b"originator", b"codex_exec"),
        (b"x-codex-beta-features", b"a"),
    ]
    assert set(given) <= set(forwarded(given))


def test_headers_that_the_connection_header_names_stay_here() -> None:
    assert b"x-hop" not in dict(forwarded([(b"connection", b"keep-alive, X-Hop"), (b"x-hop", b"1")]))


def test_a_client_without_a_name_is_given_ours() -> None:
    assert dict(forwarded([]))[b"user-agent"].startswith(b"codexproxy/")


def test_an_account_without_an_id_upstream_sends_none() -> None:
    assert signed([], "t", None) == [(b"authorization", b"Bearer t")]
    assert signed([], "t", "acct")[1] == (b"chatgpt-account-id", b"acct")


def test_neither_cookies_nor_one_accounts_limits_come_back() -> None:
    upstream = [
        (b"set-cookie", b"a=b"), (b"x-codex-primary-used-percent", b"99"), (b"x-codex-turn-state", b"ts"),
        (b"cf-ray", b"r"), (b"server", b"s"),
    ]  # fmt: skip
    assert returned(upstream) == [(b"x-codex-turn-state", b"ts"), (b"cf-ray", b"r")]


def test_the_pools_figures_have_the_form_of_the_rate_limit_headers() -> None:
    assert pool_limits(Window(25.0, 1_700_000_000.5, 300, 0.0), None) == [
        (b"x-codex-primary-used-percent", b"25.0"),
        (b"x-codex-primary-window-minutes", b"300"),
        (b"x-codex-primary-reset-at", b"1700000000"),
    ]


def test_the_clients_own_handshake_stays_here() -> None:
    given = [(b"sec-websocket-key", b"k"), (b"upgrade", b"websocket"), (b"originator", b"codex_exec")]
    sent = for_handshake(forwarded(given))
    assert [name for name, _ in sent] == [b"originator", b"user-agent", b"openai-beta"]


def test_what_a_client_says_of_its_websocket_goes_with_the_upgrade_only() -> None:
    given = [(b"openai-beta", b"responses_websockets=2026-01-01"), (b"openai-beta", b"other=1")]
    assert for_handshake(given) == given
    assert for_fallback(given) == [(b"openai-beta", b"other=1")]
