from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.routing import (
    Ask,
    Candidate,
    Choice,
    ModelLimit,
    PassedOver,
    Refusal,
    Window,
    choose,
    moves_for_good,
)

NOW = 1_700_000_000.0


def account(name: str, used: float = 0.0, **fields: object) -> Candidate:
    window = Window(used, NOW + 3600, 300, NOW)
    weekly = Window(used, NOW + 86_400, 10_080, NOW)
    values = {"primary": window, "secondary": weekly, "weekly_credits": 7560.0, **fields}
    return Candidate(name, f"{name}@example.com", **values)  # type: ignore[arg-type]


def chosen(pool: list[Candidate], **ask: object) -> str:
    choice = choose(pool, Ask(**ask), NOW, random.Random(1))  # type: ignore[arg-type]
    assert isinstance(choice, Choice)
    return choice.account_id


def test_the_only_account_is_chosen() -> None:
    assert chosen([account("a")]) == "a"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"status": "paused"}, "paused by the operator"),
        ({"status": "reauth_required", "reason": "token revoked"}, "sign-in needed: token revoked"),
        ({"status": "deactivated", "reason": "suspended"}, "closed by upstream: suspended"),
        ({"status": "rate_limited", "reset_at": NOW + 60}, "usage limit reached"),
        ({"status": "quota_exceeded", "reset_at": NOW + 60}, "quota used up"),
    ],
)
def test_every_account_that_cannot_serve_says_why(fields: dict, reason: str) -> None:
    refusal = choose([account("a", **fields)], Ask(), NOW, random.Random(1))
    assert isinstance(refusal, Refusal)
    assert [passed.reason for passed in refusal.passed_over] == [reason]


def test_a_choice_names_those_it_passed_over() -> None:
    choice = choose([account("a", status="paused"), account("b")], Ask(), NOW, random.Random(1))
    assert isinstance(choice, Choice)
    assert [passed.account_id for passed in choice.passed_over] == ["a"]


def test_limits_alone_are_told_apart_with_the_earliest_return() -> None:
    pool = [
        account("a", status="rate_limited", reset_at=NOW + 90),
        account("b", status="rate_limited", reset_at=NOW + 60),
    ]
    refusal = choose(pool, Ask(), NOW, random.Random(1))
    assert isinstance(refusal, Refusal)
    assert refusal.only_limits
    assert refusal.earliest_return == NOW + 60


def test_a_block_that_has_ended_is_probed_by_the_next_request() -> None:
    assert chosen([account("a", status="rate_limited", reset_at=NOW - 1)]) == "a"


def test_an_account_that_was_asked_in_this_request_is_not_asked_again() -> None:
    tried = PassedOver("a", "a", "limit reached")
    assert chosen([account("a"), account("b", used=90)], excluded={"a": tried}) == "b"


def test_three_errors_in_a_row_keep_an_account_out_for_a_while() -> None:
    failing = account("a", error_count=3, last_error_at=NOW - 10)
    assert chosen([failing, account("b", used=90)], strategy="usage_weighted") == "b"
    failing.last_error_at = NOW - 31
    assert chosen([failing, account("b", used=90)], strategy="usage_weighted") == "a"


def test_an_account_that_failed_lately_serves_rather_than_nobody() -> None:
    assert chosen([account("a", error_count=5, last_error_at=NOW), account("b", status="paused")]) == "a"


def test_a_conversation_stays_on_its_account() -> None:
    assert chosen([account("a", used=94), account("b")], affinity="a") == "a"


def test_a_conversation_leaves_an_account_that_is_nearly_used_up_for_a_fresh_one() -> None:
    assert (
        chosen([account("a", used=96), account("b", used=50)], affinity="a", strategy="usage_weighted") == "b"
    )


def test_a_conversation_does_not_move_when_nothing_better_exists() -> None:
    assert chosen([account("a", used=96), account("b", used=85)], affinity="a") == "a"


def test_a_pause_beats_affinity() -> None:
    assert chosen([account("a", status="paused"), account("b", used=99)], affinity="a") == "b"


def test_a_compacted_conversation_goes_to_its_owner_or_to_nobody() -> None:
    pool = [account("a", status="rate_limited", reset_at=NOW + 60), account("b")]
    refusal = choose(pool, Ask(affinity="a", only="a"), NOW, random.Random(1))
    assert isinstance(refusal, Refusal)
    assert {passed.account_id for passed in refusal.passed_over} == {"a", "b"}


def test_requests_in_flight_count_as_use() -> None:
    pool = [account("a", used=10, in_flight=8), account("b", used=20)]
    assert chosen(pool, strategy="usage_weighted") == "b"


def test_the_account_whose_week_ends_soonest_can_be_preferred() -> None:
    soon = account("a", used=60)
    late = account("b", used=5)
    late.secondary = Window(5, NOW + 5 * 86_400, 10_080, NOW)
    assert chosen([soon, late], strategy="usage_weighted", prefer_earlier_reset=True) == "a"


@pytest.mark.parametrize(
    ("candidate", "moves"),
    [
        (account("a", status="rate_limited", reset_at=NOW + 200), False),
        (account("a", status="rate_limited", reset_at=NOW + 400), True),
        (account("a", status="paused"), True),
        (account("a", used=96), True),
        (account("a", used=50), False),
        (None, True),
    ],
)
def test_a_conversation_moves_for_good_only_when_its_account_is_gone_for_long(
    candidate: Candidate | None, moves: bool
) -> None:
    assert moves_for_good(candidate, NOW) is moves


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["active", "paused", "rate_limited", "reauth_required", "deactivated"]),
            st.floats(0, 120),
            st.floats(-100, 100),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["capacity_weighted", "usage_weighted", "round_robin"]),
    st.booleans(),
)
def test_an_account_that_cannot_serve_is_never_chosen(states: list, strategy: str, prefer: bool) -> None:
    pool = [
        account(str(index), used, status=status, reset_at=NOW + reset)
        for index, (status, used, reset) in enumerate(states)
    ]
    result = choose(pool, Ask(strategy=strategy, prefer_earlier_reset=prefer), NOW, random.Random(1))
    if isinstance(result, Refusal):
        assert len(result.passed_over) == len(pool)
    else:
        winner = pool[int(result.account_id)]
        assert winner.status == "active" or (winner.status == "rate_limited" and winner.reset_at <= NOW)
        assert len(result.passed_over) < len(pool)


def test_an_account_whose_plan_lacks_the_model_is_passed_over() -> None:
    pool = [account("a", plan_type="plus"), account("b", plan_type="pro")]
    assert chosen(pool, plans_without_model=frozenset({"plus"})) == "b"


def test_a_plan_that_lacks_the_model_says_nothing_about_the_pool_s_limits() -> None:
    pool = [
        account("a", plan_type="plus"),
        account("b", plan_type="pro", status="rate_limited", reset_at=NOW + 60),
    ]
    refusal = choose(pool, Ask(plans_without_model=frozenset({"plus"})), NOW, random.Random(1))
    assert isinstance(refusal, Refusal)
    assert refusal.only_limits
    assert refusal.passed_over[0].reason == "its plan (plus) does not have the model"


def sonic(used: float, *, reset_at: float | None = NOW + 7200, at: float = NOW) -> dict[str, ModelLimit]:
    return {"codex_other": ModelLimit("GPT-5.5-Sonic", {"primary": Window(used, reset_at, 300, at)})}


def test_an_account_whose_limit_for_a_model_is_used_up_is_passed_over_for_that_model_only() -> None:
    pool = [account("a", model_limits=sonic(100)), account("b", used=90)]
    for model in ("gpt-5.5-sonic", "gpt-5.5-sonic-2026-10-01"):
        choice = choose(pool, Ask(model=model, strategy="usage_weighted"), NOW, random.Random(1))
        assert isinstance(choice, Choice)
        assert choice.account_id == "b"
        (passed,) = choice.passed_over
        assert (passed.reason, passed.until) == ("its limit for GPT-5.5-Sonic is used up", NOW + 7200)
    assert chosen(pool, model="gpt-5.5", strategy="usage_weighted") == "a"


def test_a_pool_whose_limit_for_a_model_is_used_up_comes_back_at_its_reset() -> None:
    refusal = choose(
        [account("a", model_limits=sonic(100))], Ask(model="gpt-5.5-sonic"), NOW, random.Random(1)
    )
    assert isinstance(refusal, Refusal)
    assert (refusal.only_limits, refusal.earliest_return) == (True, NOW + 7200)


@pytest.mark.parametrize(
    "limits",
    [sonic(99), sonic(100, reset_at=NOW), sonic(100, reset_at=None, at=NOW - 60)],
    ids=["room", "elapsed", "no reset told"],
)
def test_a_limit_for_a_model_holds_nobody_back_without_proof(limits: dict[str, ModelLimit]) -> None:
    assert chosen([account("a", model_limits=limits)], model="gpt-5.5-sonic") == "a"


def test_a_conversation_leaves_an_account_whose_limit_for_its_model_is_used_up_for_long() -> None:
    candidate = account("a", model_limits=sonic(100))
    assert moves_for_good(candidate, NOW, "gpt-5.5-sonic")
    assert not moves_for_good(candidate, NOW, "gpt-5.5")
    assert not moves_for_good(account("a", model_limits=sonic(100, reset_at=NOW + 60)), NOW, "gpt-5.5-sonic")


def test_accounts_to_burn_first_come_before_all_and_preserved_ones_last() -> None:
    burn = account("burn", used=90, policy="burn_first")
    normal, preserve = account("normal", used=10), account("preserve", policy="preserve")
    assert chosen([preserve, normal, burn], strategy="usage_weighted") == "burn"
    assert chosen([preserve, normal], strategy="usage_weighted") == "normal"
    assert chosen([preserve], strategy="usage_weighted") == "preserve"


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        (("burn_first", "normal"), "chosen by round_robin among those to burn first"),
        (("normal", "preserve"), "chosen by round_robin while others are preserved"),
        (("normal", "normal"), "chosen by round_robin"),
    ],
)
def test_a_choice_says_whose_turn_it_was(policies: tuple[str, str], why: str) -> None:
    pool = [account(str(number), policy=policy) for number, policy in enumerate(policies)]
    choice = choose(pool, Ask(strategy="round_robin"), NOW, random.Random(1))
    assert isinstance(choice, Choice)
    assert choice.why == why


def test_a_conversation_stays_with_its_account_whatever_the_policies_say() -> None:
    pool = [account("a", policy="preserve"), account("b", policy="burn_first")]
    assert chosen(pool, affinity="a") == "a"


def test_an_account_in_reserve_takes_no_new_conversation_and_says_until_when() -> None:
    refusal = choose([account("a", used=80, stop_at_percent=80)], Ask(), NOW, random.Random(1))
    assert isinstance(refusal, Refusal)
    (passed,) = refusal.passed_over
    assert passed.reason == "held in reserve from 80 % of its week on"
    assert (refusal.only_limits, refusal.earliest_return) == (True, NOW + 86_400)


@pytest.mark.parametrize("ask", [{"affinity": "a"}, {"only": "a"}])
def test_a_reserve_never_cuts_a_conversation_short(ask: dict[str, str]) -> None:
    assert chosen([account("a", used=90, stop_at_percent=80), account("b")], **ask) == "a"


def test_a_reserve_holds_nobody_back_without_a_current_reading() -> None:
    unknown = account("a", used=90, stop_at_percent=80)
    unknown.secondary = Window(90, NOW - 1, 10_080, NOW - 86_400)
    assert chosen([unknown]) == "a"


_POLICIES = st.sampled_from(["burn_first", "normal", "preserve"])
_STOPS = st.one_of(st.none(), st.integers(1, 100))


@given(st.lists(st.tuples(_POLICIES, _STOPS, st.integers(0, 100)), min_size=1, max_size=6), st.booleans())
def test_nobody_serves_before_its_turn_or_out_of_its_reserve(rows: list, prefer: bool) -> None:
    pool = [
        account(str(number), used, policy=policy, stop_at_percent=stop)
        for number, (policy, stop, used) in enumerate(rows)
    ]
    order = ["burn_first", "normal", "preserve"]
    free = [one for one, (_, stop, used) in zip(pool, rows, strict=True) if stop is None or used < stop]
    result = choose(pool, Ask(prefer_earlier_reset=prefer), NOW, random.Random(1))
    assert isinstance(result, Choice) is bool(free)
    if isinstance(result, Choice):
        winner = pool[int(result.account_id)]
        assert winner in free
        assert order.index(winner.policy) == min(order.index(one.policy) for one in free)
