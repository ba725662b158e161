from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.tokens import RefreshFailed, RefreshRefused
from proxy.attempts import Attempts
from proxy.errors import Surfaced
from proxy.pool import Token
from tests.proxy.fakes import (
    COMPLETED,
    CREATED,
    DELTA,
    NOW,
    DataPlane,
    FakeResponse,
    event,
    limit,
    ok,
    refusal,
    reset,
    unreachable,
    view,
)

pytestmark = pytest.mark.asyncio

REASONING = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "by-a"}
MESSAGE = {"type": "message", "role": "user", "content": "hi"}
COMPACTION = {"type": "compaction", "id": "cmp", "encrypted_content": "by-a"}
FOREIGN = {"code": "invalid_encrypted_content", "message": "could not be verified"}


async def surfaced(plane: DataPlane, **fields: Any) -> Surfaced:
    with pytest.raises(Surfaced) as caught:
        await plane.serve(**fields)
    return caught.value


async def test_it_works() -> None:
    plane = DataPlane(view("a"))
    served = await Attempts(plane.turn(), plane.services).run()
    assert served.first == CREATED + DELTA
    assert [block async for block in served.rest] == [COMPLETED]
    assert plane.candidate("a").in_flight == 1
    await served.close()
    assert plane.candidate("a").in_flight == 0


async def test_an_upstream_that_is_done_before_it_began_is_not_waited_for() -> None:
    class LeftOpen(FakeResponse):
        async def blocks(self) -> AsyncIterator[bytes]:
            yield CREATED + b"data: [DONE]\n\n"
            await asyncio.Event().wait()

    plane = DataPlane(view("a"), view("b"), script={"a": [LeftOpen()]})
    async with asyncio.timeout(60):
        turn = await plane.serve()
    assert [(attempt.account_id, attempt.code) for attempt in turn.record.attempts] == [
        ("a", "stream_incomplete"),
        ("b", None),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        limit(),
        refusal(429, {"code": "insufficient_quota", "message": "no"}),
        refusal(403, {"code": "account_suspended", "message": "no"}),
        refusal(500),
        refusal(503, {"code": "server_is_overloaded", "message": "busy"}),
        refusal(403),
        ok(CREATED + event("response.failed", response={"error": {"code": "rate_limit_exceeded"}})),
        ok(CREATED + event("error", error={"code": "server_is_overloaded", "message": "busy"})),
        ok(CREATED),
        unreachable(),
    ],
)
async def test_an_account_that_does_not_serve_is_passed_over_unseen(answer: Any) -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [answer]})
    served = await Attempts(plane.turn(), plane.services).run()
    assert served.member.candidate.account_id == "b"
    assert served.first == CREATED + DELTA
    assert plane.upstream.asked == ["a", "b"]
    assert plane.candidate("a").in_flight == 0


async def test_every_attempt_is_on_record() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit()]})
    turn = await plane.serve()
    assert [(attempt.account_id, attempt.outcome) for attempt in turn.record.attempts] == [
        ("a", "limit reached"),
        ("b", "served"),
    ]


async def test_a_limit_blocks_the_account_until_its_reset() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit(600)]})
    await plane.serve()
    assert plane.ledger.told[0] == ("block", "a", "rate_limited", NOW + 600)
    await plane.serve()
    assert plane.upstream.asked == ["a", "b", "b"]


async def test_a_limit_that_comes_as_an_event_blocks_the_account_too() -> None:
    failed = event("response.failed", response={"error": {"code": "usage_limit_reached"}})
    plane = DataPlane(view("a"), view("b"), script={"a": [ok(CREATED + failed)]})
    await plane.serve()
    assert plane.candidate("a").status == "rate_limited"


async def test_a_401_refreshes_once_and_stays_on_the_account() -> None:
    plane = DataPlane(view("a"), script={"a": [refusal(401)]})
    await plane.serve()
    assert plane.refresher.calls == [("a", 1)]
    assert [request.token for request in plane.upstream.requests] == ["token-a-1", "token-a-2"]


async def test_a_token_that_another_request_has_renewed_meanwhile_is_used_without_a_refresh() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    assert member is not None

    class RenewedMeanwhile(FakeResponse):
        async def read(self, limit: int) -> bytes:
            plane.pool.token_refreshed("a", Token("newer", 2, NOW + 3600))
            return b""

    plane.upstream.script["a"] = [RenewedMeanwhile(401)]
    await plane.serve()
    assert plane.refresher.calls == []
    assert [request.token for request in plane.upstream.requests] == ["token-a-1", "newer"]


async def test_a_second_401_goes_to_the_next_account() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [refusal(401), refusal(401)]})
    await plane.serve()
    assert plane.upstream.asked == ["a", "a", "b"]
    assert plane.candidate("a").status == "active"
    assert plane.candidate("a").error_count == 1


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (limit(), "rate_limited"),
        (refusal(429, {"code": "insufficient_quota"}), "quota_exceeded"),
        (refusal(403, {"code": "account_suspended"}), "deactivated"),
        (ok(event("response.failed", response={"error": {"code": "usage_limit_reached"}})), "rate_limited"),
    ],
)
async def test_what_follows_a_refresh_is_judged_like_anything_else(second: Any, status: str) -> None:
    plane = DataPlane(view("a"), script={"a": [refusal(401), second]})
    await surfaced(plane)
    assert plane.candidate("a").status == status


async def test_a_refused_refresh_asks_for_a_sign_in_and_goes_on() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [refusal(401)]})
    plane.refresher.answer = RefreshRefused("refresh_token_expired", "The sign-in has expired.")
    await plane.serve()
    assert plane.candidate("a").status == "reauth_required"
    assert plane.upstream.asked == ["a", "b"]


async def test_a_refresh_that_fails_for_now_leaves_the_account_active() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [refusal(401)]})
    plane.refresher.answer = RefreshFailed("no connection")
    await plane.serve()
    assert plane.candidate("a").status == "active"


async def test_an_expired_token_is_refreshed_before_it_is_used() -> None:
    plane = DataPlane(view("a", access_expires_at=NOW - 1))
    await plane.serve()
    assert [request.token for request in plane.upstream.requests] == ["token-a-2"]


async def test_a_connection_that_breaks_before_any_answer_is_tried_again_on_the_same_account() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [reset()]})
    await plane.serve()
    assert plane.upstream.asked == ["a", "a"]


async def test_three_transient_failures_end_the_attempt() -> None:
    names = ("a", "b", "c", "d")
    plane = DataPlane(*(view(name) for name in names), script={name: [refusal(500)] for name in names})
    answer = await surfaced(plane)
    assert answer.status == 500
    assert len(plane.upstream.asked) == 3


async def test_refusals_that_cost_nothing_do_not_count() -> None:
    names = ("a", "b", "c", "d", "e")
    plane = DataPlane(*(view(name) for name in names), script={name: [limit()] for name in names[:4]})
    await plane.serve()
    assert plane.upstream.asked == list(names)


async def test_a_clients_own_mistake_is_passed_through_after_one_call() -> None:
    plane = DataPlane(
        view("a"), view("b"), script={"a": [refusal(400, {"message": "bad", "param": "tools"})]}
    )
    answer = await surfaced(plane)
    assert (answer.status, answer.param, plane.upstream.asked) == (400, "tools", ["a"])
    assert answer.body() == b'{"error": {"message": "bad", "param": "tools"}}'


async def test_a_clients_own_mistake_in_an_event_keeps_upstreams_events() -> None:
    failed = event("response.failed", response={"error": {"code": "context_length_exceeded"}})
    plane = DataPlane(view("a"), view("b"), script={"a": [ok(CREATED + failed)]})
    answer = await surfaced(plane)
    assert (answer.events, plane.upstream.asked) == (CREATED + failed, ["a"])


async def test_all_limited_names_the_pools_earliest_reset() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit(900)], "b": [limit(600)]})
    answer = await surfaced(plane)
    assert (answer.status, answer.error()["type"]) == (429, "usage_limit_reached")
    assert answer.error()["resets_at"] == int(NOW + 600)


async def test_nobody_to_try_is_said_with_reasons() -> None:
    plane = DataPlane(view("a", status="paused"), view("b", status="reauth_required"))
    answer = await surfaced(plane)
    assert (answer.status, answer.code) == (503, "no_accounts")
    assert "paused by the operator" in answer.message
    assert plane.upstream.asked == []


async def test_a_conversation_stays_on_its_account() -> None:
    plane = DataPlane(view("a"), view("b"))
    for _ in range(3):
        await plane.serve(conversation="c")
    assert plane.upstream.asked == ["a", "a", "a"]


async def test_a_conversation_with_a_key_of_our_making_is_forgotten_sooner() -> None:
    plane = DataPlane(view("a"), view("b"))
    turn = plane.turn(conversation="cp-1")
    turn.has_derived_key = True
    await plane.serve(turn)
    plane.clock.now += 1801
    await plane.serve(conversation="cp-1")
    assert plane.upstream.asked == ["a", "b"]


async def test_without_affinity_a_conversation_goes_round() -> None:
    plane = DataPlane(view("a"), view("b"), affinity_enabled=False)
    plane.clock.now += 1
    await plane.serve(conversation="c")
    plane.clock.now += 1
    await plane.serve(conversation="c")
    assert plane.upstream.asked == ["a", "b"]


async def test_when_the_owner_cannot_serve_the_next_goes_without_its_reasoning() -> None:
    plane = DataPlane(view("a"), view("b"))
    await plane.serve(conversation="c")
    plane.upstream.script["a"] = [limit(900)]
    await plane.serve(conversation="c", input=[REASONING, MESSAGE])
    assert [request.body["input"] for request in plane.upstream.requests[1:]] == [
        [REASONING, MESSAGE],
        [MESSAGE],
    ]


async def test_a_conversation_that_moved_never_sends_the_old_reasoning_again() -> None:
    plane = DataPlane(view("a"), view("b"))
    await plane.serve(conversation="c")
    plane.upstream.script["a"] = [limit(900)]
    await plane.serve(conversation="c", input=[REASONING, MESSAGE])
    own = {**REASONING, "encrypted_content": "by-b"}
    await plane.serve(conversation="c", input=[REASONING, MESSAGE, own])
    assert plane.upstream.requests[-1].account == "b"
    assert plane.upstream.requests[-1].body["input"] == [MESSAGE, own]


async def test_through_a_short_block_another_serves_and_the_conversation_returns() -> None:
    plane = DataPlane(view("a"), view("b"))
    await plane.serve(conversation="c")
    plane.upstream.script["a"] = [limit(120)]
    await plane.serve(conversation="c")
    plane.clock.now += 121
    await plane.serve(conversation="c")
    assert plane.upstream.asked == ["a", "a", "b", "a"]


async def test_foreign_content_is_retried_once_without_it_and_is_nobodys_fault() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [refusal(400, FOREIGN)]})
    await plane.serve(input=[REASONING, MESSAGE])
    assert plane.upstream.asked == ["a", "a"]
    assert plane.upstream.requests[1].body["input"] == [MESSAGE]
    assert plane.candidate("a").error_count == 0


async def test_a_compaction_without_a_known_owner_is_offered_to_each_account() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [refusal(400, FOREIGN)]})
    await plane.serve(input=[COMPACTION])
    assert plane.upstream.asked == ["a", "b"]


async def test_foreign_content_that_cannot_be_left_out_is_the_clients_to_know() -> None:
    script = {name: [refusal(400, FOREIGN)] for name in ("a", "b")}
    plane = DataPlane(view("a"), view("b"), script=script)
    answer = await surfaced(plane, input=[COMPACTION])
    assert plane.upstream.asked == ["a", "b"]
    assert (answer.status, answer.code) == (400, "invalid_encrypted_content")
    assert [plane.candidate(name).status for name in script] == ["active", "active"]


async def test_a_compacted_conversation_waits_for_its_owner() -> None:
    plane = DataPlane(view("a"), view("b"))
    await plane.serve(conversation="c")
    plane.upstream.script["a"] = [limit(900)]
    answer = await surfaced(plane, conversation="c", input=[COMPACTION, MESSAGE])
    assert plane.upstream.asked == ["a", "a"]
    assert (answer.status, answer.error()["resets_at"]) == (429, int(NOW + 900))
    assert "a@example.com" in answer.message
    assert "b@example.com" not in answer.message


async def test_a_turn_with_a_file_goes_to_the_files_account_or_to_nobody() -> None:
    plane = DataPlane(view("a"), view("b"), script={"b": [ok(), limit(900)]})
    for expected in (200, 429):
        turn = plane.turn()
        turn.file_owner = "b"
        if expected == 200:
            await plane.serve(turn)
        else:
            assert (await surfaced(plane, turn=turn)).status == 429
    assert plane.upstream.asked == ["b", "b"]


async def test_many_first_requests_of_one_conversation_land_on_one_account() -> None:
    plane = DataPlane(view("a"), view("b"))
    running = [Attempts(plane.turn(conversation="c"), plane.services) for _ in range(4)]
    for attempts in running:
        served = await attempts.run()
        plane.clock.now += 1
        await served.close()
    assert plane.upstream.asked == ["a"] * 4


async def test_an_echoed_turn_state_finds_its_account_and_is_not_shown_to_another() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [ok(headers=[(b"x-codex-turn-state", b"ts-a")])]})
    await plane.serve()
    plane.clock.now += 1
    echoed = {"x-codex-turn-state": "ts-a"}
    await plane.serve(headers=echoed)
    assert plane.upstream.asked == ["a", "a"]
    plane.upstream.script["a"] = [limit()]
    await plane.serve(headers=echoed)
    assert "x-codex-turn-state" not in plane.upstream.requests[-1].headers
    assert plane.upstream.requests[-1].account == "b"


async def test_the_client_sees_the_pools_figures_and_the_account_learns_its_own() -> None:
    alarm = event("codex.rate_limits", rate_limits={"primary": {"used_percent": 90, "window_minutes": 300}})
    plane = DataPlane(view("a"), view("b"), script={"a": [ok(CREATED + alarm + DELTA)]})
    served = await Attempts(plane.turn(), plane.services).run()
    await served.close()
    assert b'"used_percent":50.0' in served.first
    assert plane.candidate("a").primary.used_percent == 90


async def test_figures_in_the_headers_of_a_refusal_are_learned() -> None:
    headers = [(b"x-codex-primary-used-percent", b"100"), (b"x-codex-primary-window-minutes", b"300")]
    answer = refusal(429, {"type": "usage_limit_reached"}, headers=headers)
    plane = DataPlane(view("a"), view("b"), script={"a": [answer]})
    await plane.serve()
    assert plane.candidate("a").primary.used_percent == 100


async def test_upstream_answers_are_closed_whatever_happens() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit()]})
    await plane.serve()
    assert all(response.closed for response in plane.upstream.responses)


def model_limit() -> FakeResponse:
    headers = [
        (b"x-codex-active-limit", b"codex_other"),
        (b"x-codex-other-limit-name", b"gpt-5.5-sonic"),
        (b"x-codex-other-primary-used-percent", b"100"),
        (b"x-codex-other-primary-window-minutes", b"300"),
        (b"x-codex-other-primary-reset-at", str(int(NOW + 900)).encode()),
    ]
    return refusal(429, {"type": "usage_limit_reached", "message": "limit"}, headers=headers)


async def test_a_limit_for_one_model_leaves_the_account_to_the_others() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [model_limit()]})
    turn = await plane.serve(model="gpt-5.5-sonic")
    assert plane.upstream.asked == ["a", "b"]
    assert turn.record.attempts[0].outcome == "model limit reached"
    assert turn.record.routing["passed_over"] == [
        {"account_id": "a", "reason": "model limit reached", "until": NOW + 900}
    ]
    assert plane.candidate("a").status == "active"
    later = await plane.serve(model="gpt-5.5-sonic")
    assert plane.upstream.asked == ["a", "b", "b"]
    assert later.record.routing["passed_over"] == [
        {"account_id": "a", "reason": "its limit for gpt-5.5-sonic is used up", "until": NOW + 900}
    ]
    await plane.serve(model="gpt-5.5")
    await plane.serve(model="gpt-5.5")
    assert "a" in plane.upstream.asked[3:]


async def test_a_limit_for_one_model_that_all_have_reached_is_a_limit_with_its_reset() -> None:
    plane = DataPlane(view("a"), script={"a": [model_limit()]})
    for _ in range(2):
        error = await surfaced(plane, model="gpt-5.5-sonic")
        assert (error.status, error.type, error.extra["resets_at"]) == (
            429,
            "usage_limit_reached",
            int(NOW + 900),
        )
    assert plane.upstream.asked == ["a"]


async def test_a_reading_of_one_account_s_limit_for_a_model_is_not_told_to_the_client() -> None:
    told = event(
        "codex.rate_limits",
        metered_limit_name="codex_other",
        limit_name="gpt-5.5-sonic",
        rate_limits={"primary": {"used_percent": 100, "reset_at": NOW + 60}},
    )
    plane = DataPlane(view("a"), script={"a": [ok(CREATED + told + DELTA, COMPLETED)]})
    served = await Attempts(plane.turn(), plane.services).run()
    assert served.first == CREATED + DELTA
    await served.close()
    assert plane.candidate("a").model_limits["codex_other"].used_up_until(NOW) == NOW + 60


async def test_the_time_until_the_first_byte_is_split_into_upstreams_and_our_own() -> None:
    plane = DataPlane(view("a"), view("b"), script={"a": [limit()], "b": [ok()]})
    turn = plane.turn()
    turn.record.began -= 2.0
    served = await Attempts(turn, plane.services).run()
    await served.close()
    split = turn.record.split
    assert split is not None
    assert split.queue_ms >= 2000
    assert split.own_ms >= split.queue_ms + split.choose_ms > split.queue_ms
    assert turn.record.elapsed_ms() >= split.own_ms + split.connect_ms + split.upstream_ms


async def test_nothing_is_split_while_no_account_serves() -> None:
    plane = DataPlane(view("a"), script={"a": [limit()]})
    turn = plane.turn()
    with pytest.raises(Surfaced):
        await Attempts(turn, plane.services).run()
    assert turn.record.split is None
