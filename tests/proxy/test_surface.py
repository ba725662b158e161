from __future__ import annotations

import pytest

from proxy.outcomes import UpstreamError
from proxy.routing import PassedOver, Refusal
from proxy.surface import nobody, surfaced

LIMITED = PassedOver("a", "Anna", "usage limit reached", 1_700_000_060.7, by_limit=True)
LATER = PassedOver("b", "Bert", "quota used up", 1_700_000_900.0, by_limit=True)
PAUSED = PassedOver("c", "Cleo", "paused by the operator")


def test_a_limit_is_told_in_the_form_that_codex_reads_as_final() -> None:
    error = UpstreamError(
        429, {"type": "usage_limit_reached", "message": "No more.", "plan_type": "plus", "resets_at": 5.5}
    )
    answer = surfaced(error, (LATER, LIMITED), native=True)
    assert answer.status == 429
    assert answer.error()["type"] == "usage_limit_reached"
    assert answer.error()["resets_at"] == 1_700_000_060
    assert answer.error()["plan_type"] == "plus"
    assert not answer.headers


def test_where_the_pool_knows_no_return_upstream_s_own_is_told_in_whole_seconds() -> None:
    told = {
        "code": "usage_limit_reached",
        "message": "No more.",
        "resets_at": "1700000060.7",
        "param": "model",
    }
    answer = surfaced(UpstreamError(None, told | {"resets_in_seconds": 61.2}), (), native=False).error()
    assert (answer["resets_at"], answer["resets_in_seconds"]) == (1_700_000_060, 61)
    assert answer["param"] == "model"
    replaced = surfaced(UpstreamError(429, told | {"resets_in_seconds": 9}), (LATER,), native=True).error()
    assert (replaced["resets_at"], "resets_in_seconds" in replaced) == (1_700_000_900, False)


@pytest.mark.parametrize("value", [None, True, "soon", float("inf"), float("nan"), 10**400, [1]])
def test_a_reset_that_is_no_moment_is_not_told(value: object) -> None:
    told = {"code": "usage_limit_reached", "message": "No more.", "resets_at": value}
    assert "resets_at" not in surfaced(UpstreamError(None, told), (), native=False).error()


@pytest.mark.parametrize(("native", "code"), [(True, "usage_limit_reached"), (False, "insufficient_quota")])
def test_a_quota_is_told_by_its_own_code_to_clients_that_are_not_codex(native: bool, code: str) -> None:
    error = UpstreamError(429, {"code": "insufficient_quota", "message": "No more."})
    answer = surfaced(error, (), native=native)
    assert (answer.status, answer.code, answer.type) == (429, code, "usage_limit_reached")


def test_every_account_s_reason_and_return_are_told() -> None:
    message = nobody(Refusal((LIMITED, PAUSED))).message
    assert "Anna: usage limit reached, back at 2023-11-14 22:14 UTC" in message
    assert "Cleo: paused by the operator" in message


def test_limits_alone_are_429_and_anything_else_503() -> None:
    assert nobody(Refusal((LIMITED, LATER))).status == 429
    assert (nobody(Refusal((LIMITED, PAUSED))).status, nobody(Refusal(())).status) == (503, 503)


def test_an_empty_pool_says_what_to_do() -> None:
    assert "add one" in nobody(Refusal(())).message


def test_a_pooled_accounts_401_never_reaches_codex() -> None:
    error = UpstreamError(401, {"code": "invalid_api_key", "message": "bad token"})
    assert (surfaced(error, (), native=True).status, surfaced(error, (), native=True).code) == (
        503,
        "no_accounts",
    )
    assert surfaced(error, (), native=False).status == 401


def test_status_and_error_object_are_kept() -> None:
    error = UpstreamError(
        500, {"code": "server_error", "message": "boom", "type": "server_error", "extra": 1}
    )
    answer = surfaced(error, (PAUSED,), native=True)
    assert answer.status == 500
    assert answer.error() == {"message": "boom", "type": "server_error", "code": "server_error", "extra": 1}


def test_a_failure_event_gets_the_status_of_its_code() -> None:
    assert surfaced(UpstreamError(None, {"code": "server_is_overloaded"}), (), native=True).status == 503


def test_what_a_gateway_tells_of_has_its_own_status_on_v1() -> None:
    error = UpstreamError(502, {"code": "not_found", "message": "no such model"})
    assert [surfaced(error, (), native=native).status for native in (False, True)] == [404, 502]


def test_a_redirect_is_a_bad_gateway() -> None:
    assert (
        surfaced(UpstreamError(302, {"message": "Upstream error: HTTP 302 Found"}), (), native=True).status
        == 502
    )
