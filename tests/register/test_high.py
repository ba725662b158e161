"""The review's items of high severity."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from proxy.simulator import Fail, FailEvent, Ok, RefreshRefused
from tests.accounts.signing_in import exchanges, redirect_after
from tests.e2e.asking import turn
from tests.e2e.server import until
from tests.e2e.test_adding_accounts import Person, come_back
from tests.register.pool import (
    CHAT,
    NATIVE,
    RESPONSES,
    Pool,
    chunks,
)

COMPACT = RESPONSES + "/compact"
XSS = "%3Cscript%3Ealert(1)%3C/script%3E"

# --- H1: each sign-in belongs to whoever began it -------------------------------------------------


def approve(pool: Pool, begun: Any) -> None:
    pool.sim.approve_device(begun["userCode"], pool.account().account.id)


def test_h1_one_person_s_success_or_failure_is_not_another_s(pool: Pool) -> None:
    ann, bob = Person(pool.server), Person(pool.server)
    hers, his = ann.start("device"), bob.start("device")
    assert hers["userCode"] != his["userCode"]
    approve(pool, hers)
    until(lambda: ann.status() == "success", 10.0, "she is signed in")
    assert bob.status() == "pending"
    pool.sim.device_refusal = "access_denied"
    try:
        until(lambda: bob.status() == "error", 10.0, "he is refused")
    finally:
        pool.sim.device_refusal = None
    assert ann.status() == "success"


def test_h1_a_stranger_s_device_code_replaces_nobody_s(pool: Pool) -> None:
    ann, bob = Person(pool.server), Person(pool.server)
    hers, _ = ann.start("device"), bob.start("device")
    for person in (bob, ann):
        person.send("POST", "complete", {"deviceAuthId": "EVIL", "userCode": "EVIL"})
    approve(pool, hers)
    until(lambda: ann.status() == "success", 10.0, "she is signed in")
    assert "EVIL" not in repr([call.body for call in pool.sim.journal])


def test_h1_an_unknown_callback_fails_alone_and_its_words_are_escaped(pool: Pool) -> None:
    person, other = Person(pool.server), Person(pool.server)
    begun, others = person.start("browser"), other.start("browser")
    before = exchanges(pool.sim)
    unknown = come_back(f"{begun['callbackUrl']}?state=unknown&code=c")
    assert (unknown.status, b"Login failed" in unknown.body) == (400, True)
    assert (person.status(), other.status()) == ("pending", "pending")
    (state,) = parse_qs(urlsplit(others["authorizationUrl"]).query)["state"]
    page = come_back(f"{begun['callbackUrl']}?state={state}&error=x&error_description={XSS}")
    assert page.status == 400
    assert (b"<script" in page.body, b"&lt;script&gt;" in page.body) == (False, True)
    assert (person.status(), other.status()) == ("pending", "error")
    assert exchanges(pool.sim) == before


def test_h1_two_browser_sign_ins_share_one_callback_and_each_state_counts_once(pool: Pool) -> None:
    people = [Person(pool.server), Person(pool.server)]
    begun = [person.start("browser") for person in people]
    # A third one is still awaited, so that the listener does not close behind the second.
    begun.append(Person(pool.server).start("browser"))
    assert len({flow["callbackUrl"] for flow in begun}) == 1
    before = exchanges(pool.sim)
    for person, flow in zip(people, begun, strict=False):
        back = redirect_after(flow["authorizationUrl"], pool.account().account.id)
        first, again = come_back(back), come_back(back)
        assert (first.status, again.status, b"Login failed" in again.body) == (200, 400, True)
        assert person.status(flow["flowId"]) == "success"
    assert exchanges(pool.sim) == before + 2


def test_h1_a_client_without_cookies_gets_through(pool: Pool) -> None:
    person = Person(pool.server, keeps_cookies=False)
    approve(pool, person.start("device"))
    person.send("POST", "complete", {})
    until(lambda: person.status() == "success", 10.0, "it is signed in")


def test_h1_a_second_start_ends_the_own_sign_in_only(pool: Pool) -> None:
    ann, bob = Person(pool.server), Person(pool.server)
    first, his = ann.start("device"), bob.start("device")
    ann.start("device")
    assert ann.status(first["flowId"]) == "error"
    assert (ann.status(), bob.status(his["flowId"])) == ("pending", "pending")


# --- H2: a failure's status tells what went wrong -------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("no_accounts", "", 503),
        ("upstream_unavailable", "", 503),
        ("invalid_api_key", "authentication_error", 401),
        ("Insufficient_Permissions", "", 403),
        ("not_found", "invalid_request_error", 404),
        ("rate_limit_exceeded", "", 429),
        ("USAGE_LIMIT_REACHED", "", 429),
        ("insufficient_quota", "", 429),
        ("usage_not_included", "", 429),
        ("quota_exceeded", "", 429),
        (None, "usage_limit_reached", 429),
        ("invalid_request_error", "", 400),
        ("context_length_exceeded", "invalid_request_error", 400),
        ("rate_limit_error", "", 429),
        ("server_is_overloaded", "server_error", 503),
        ("upstream_error", "server_error", 502),
        ("something_new", "", 502),
    ],
)
def test_h2_a_failure_in_the_stream_has_its_own_status(
    pool: Pool, code: str | None, kind: str, status: int
) -> None:
    error = {"code": code, "type": kind or None, "message": "The words of upstream"}
    for path in (CHAT, RESPONSES):
        member = pool.account(FailEvent(error))
        answer = member.chat() if path == CHAT else member.respond()
        assert answer.status == status, answer.body
        assert answer.error["code"] == (code or "usage_limit_reached")
        assert answer.error["message"].startswith("The words of upstream")


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
def test_h2_a_status_of_upstream_is_kept(pool: Pool, status: int) -> None:
    for path in (CHAT, RESPONSES, NATIVE, COMPACT, NATIVE + "/compact"):
        member = pool.account()
        member.account.default = Fail(status, {"error": {"message": "x", "type": "t", "code": "c"}})
        body: dict[str, Any] = {"model": "gpt-5.5", "stream": path == NATIVE, "store": False}
        body["messages" if path == CHAT else "input"] = [{"role": "user", "content": "hi"}]
        assert member.send("POST", path, body).status == status, path


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_h2_a_gateway_s_502_has_the_status_of_its_code_on_v1(pool: Pool, path: str) -> None:
    member = pool.account()
    ask = member.chat if path == CHAT else member.respond
    for code, status in (("c", 502), ("invalid_request_error", 400), ("rate_limit_exceeded", 429)):
        member.account.default = Fail(502, {"error": {"message": "x", "type": "t", "code": code}})
        assert (ask().status, code) == (status, code)


def test_h2_a_plan_without_the_model_s_use_is_a_limit_whatever_its_status(pool: Pool) -> None:
    error = {"message": "x", "type": "invalid_request_error", "code": "usage_not_included"}
    answer = pool.account(Fail(403, {"error": error})).chat()
    assert (answer.status, answer.error["code"], answer.error["type"]) == (
        429,
        "usage_not_included",
        "usage_limit_reached",
    )


def test_h2_the_error_object_is_kept_and_the_pool_s_limits_go_along(pool: Pool) -> None:
    told = {"message": "m", "type": "invalid_request_error", "code": "too_long", "param": "input"}
    for path in (CHAT, RESPONSES):
        member = pool.account(FailEvent(told | {"plan_type": "plus"}))
        answer = member.chat() if path == CHAT else member.respond()
        assert (answer.status, answer.error) == (400, told | {"plan_type": "plus"})
        assert answer.header("x-codex-primary-used-percent") is not None


def test_h2_nobody_to_ask_is_a_503(pool: Pool) -> None:
    member = pool.account()
    assert pool.send("POST", f"/api/accounts/{member.id}/pause").status == 200
    until(lambda: member.respond().status != 200, 10, "the pause is known")
    for answer in (member.chat(), member.respond()):
        assert (answer.status, answer.error["code"]) == (503, "no_accounts")


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_h2_what_is_no_error_object_becomes_one(pool: Pool, path: str) -> None:
    member = pool.account()
    ask = member.chat if path == CHAT else member.respond
    member.account.default = Fail(403, {"detail": "Forbidden"})
    answer = ask()
    expected = {"message": "Forbidden", "type": "server_error", "code": "upstream_error"}
    assert (answer.status, answer.error) == (403, expected)
    member.account.default = Fail(503)
    answer = ask()
    assert (answer.status, answer.error["message"]) == (503, "Upstream error: HTTP 503 Service Unavailable")


def test_h2_a_failure_behind_output_stays_in_its_stream(pool: Pool) -> None:
    answer = pool.account(FailEvent.rate_limited(after=2)).respond(stream=True)
    assert answer.status == 200
    assert answer.events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"


def test_h2_a_limit_behind_output_keeps_its_reset_and_its_param(pool: Pool) -> None:
    ends_at = int(time.time()) + 3000
    told = {"code": "rate_limit_exceeded", "message": "m", "resets_at": ends_at, "param": "model"}
    expected = told | {"type": "usage_limit_reached"}
    limited = FailEvent(told, after=2)
    for answer in (pool.account(limited).respond(), pool.account(limited).chat()):
        assert (answer.status, answer.error) == (429, expected)
    found = chunks(pool.account(limited).chat(stream=True))
    assert [chunk["error"] for chunk in found if "error" in chunk] == [expected]


# --- H3: what comes after a refreshed token is judged like anything else --------------------------


def seconds_until(moment: Any) -> float:
    """As either database gives a moment."""
    found = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return float((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() - time.time())


def refreshed(pool: Pool, after: Any) -> Any:
    """An account whose token upstream refuses once, and which then answers so."""
    return pool.unrefreshed(Fail.unauthorized(), after)


def test_h3_a_limit_behind_a_401_is_the_account_s(pool: Pool) -> None:
    ends_at = int(time.time()) + 3000
    limit = Fail(429, {"error": {"type": "usage_limit_reached", "message": "m", "resets_at": ends_at}})
    member = refreshed(pool, limit)
    answer = member.chat()
    assert (answer.status, answer.error["type"], answer.error["resets_at"]) == (
        429,
        "usage_limit_reached",
        ends_at,
    )
    assert seconds_until(member.state("rate_limited")[1]) == pytest.approx(ends_at - time.time(), abs=5)
    attempts = [(attempt["status"], attempt["code"]) for attempt in member.record("attempts")]
    assert attempts == [(401, None), (429, "usage_limit_reached")]
    assert (len(member.asked), member.record("error_code")) == (2, "usage_limit_reached")


def test_h3_a_quota_behind_a_401_is_the_account_s(pool: Pool) -> None:
    error = {"code": "insufficient_quota", "type": "insufficient_quota", "message": "m"}
    member = refreshed(pool, Fail(429, {"error": error}))
    answer = member.chat()
    assert (answer.status, answer.error["code"]) == (429, "insufficient_quota")
    assert seconds_until(member.state("quota_exceeded")[1]) == pytest.approx(3600, abs=60)


def test_h3_a_closed_account_behind_a_401_is_out(pool: Pool) -> None:
    member = refreshed(pool, Fail(403, {"error": {"code": "account_suspended", "message": "m"}}))
    assert member.chat().status == 403
    assert member.state("deactivated")[2] == "Account has been suspended"


def test_h3_a_second_401_reaches_the_client_and_costs_one_refresh(pool: Pool) -> None:
    member = refreshed(pool, Fail.unauthorized())
    before = len(pool.sim.refreshes)
    assert member.chat().status == 401
    assert len(pool.sim.refreshes) == before + 1
    assert len(member.asked) == 2
    # The account is none the worse for it.
    assert member.chat().status == 200


def test_h3_for_codex_a_second_401_is_nobody_there(pool: Pool) -> None:
    member = refreshed(pool, Fail.unauthorized())
    answer = member.send("POST", NATIVE, turn())
    assert (answer.status, answer.error["code"]) == (503, "no_accounts")
    assert len(member.asked) == 2


def test_h3_a_second_401_is_an_error_of_the_account_and_leaves_it_active(pool: Pool) -> None:
    member = pool.unrefreshed()
    member.account.default = Fail.unauthorized()
    pair = pool.together(member, pool.account())
    for number in range(3):
        assert pair.respond(input=f"conversation {number}").status == 200
    assert pair.respond_with({"x-request-id": "rid-after"}, input="another").status == 200
    until(lambda: pair.record("request_id") == "rid-after", 30, "it is on record")
    reasons = {each["account_id"]: each["reason"] for each in pair.record("routing")["passed_over"]}
    assert reasons[member.id] == "cooling down after errors"
    assert member.state("active")[2] == ""


def test_h3_a_sign_in_that_is_over_is_the_account_s_and_the_next_one_serves(pool: Pool) -> None:
    over = refreshed(pool, Ok())
    over.account.script_refresh(RefreshRefused.expired())
    other = pool.account()
    pair = pool.together(over, other)
    assert pair.chat().status == 200
    assert over.state("reauth_required")[2] != ""
    assert [attempt["account_id"] for attempt in pair.record("attempts")] == [over.id, other.id]
    assert (len(over.asked), len(other.asked)) == (1, 1)


def test_h3_a_limit_in_the_first_event_behind_a_401_is_the_account_s(pool: Pool) -> None:
    member = refreshed(pool, FailEvent.usage_limit(int(time.time()) + 3000))
    assert member.chat().status == 429
    assert seconds_until(member.state("rate_limited")[1]) == pytest.approx(3000, abs=60)


def test_h3_a_limit_in_the_middle_of_a_stream_is_the_account_s(pool: Pool) -> None:
    member = refreshed(pool, FailEvent.usage_limit(int(time.time()) + 3000, after=2))
    assert member.chat(stream=True).status == 200
    assert seconds_until(member.state("rate_limited")[1]) == pytest.approx(3000, abs=60)


def test_h3_an_answer_behind_a_401_serves(pool: Pool) -> None:
    member = refreshed(pool, Ok())
    assert member.chat().status == 200
    refused, served = (call.headers["authorization"] for call in pool.sim.responses(member.account.id))
    assert refused != served
    assert member.record("status") == "success"
