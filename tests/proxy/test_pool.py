from __future__ import annotations

from proxy.outcomes import Effect, Outcome, Step
from proxy.pool import Token
from proxy.routing import Ask, Choice, Refusal, Window
from proxy.routing import ModelLimit as KnownLimit
from tests.proxy.fakes import NOW, DataPlane, view
from usage.windows import ModelLimit, Sample, WindowReading

LIMIT = Outcome("limit reached", Effect.RATE_LIMITED, Step.NEXT_ACCOUNT, NOW + 600)
FAILURE = Outcome("upstream error", Effect.TRANSIENT, Step.NEXT_ACCOUNT)


def reading(used: float, reset_at: float, at: float) -> Sample:
    return Sample((WindowReading("primary", used, reset_at, 300),), at, "headers", None, None)


def test_a_limit_without_a_reset_ends_with_the_known_window() -> None:
    plane = DataPlane(view("a"))
    plane.pool.learn(plane.pool.member("a"), Outcome("limit reached", Effect.RATE_LIMITED, Step.NEXT_ACCOUNT))
    assert plane.candidate("a").reset_at == NOW + 3600


def test_a_limit_of_which_nothing_is_known_ends_after_a_minute() -> None:
    plane = DataPlane(view("a", windows={}))
    plane.pool.learn(plane.pool.member("a"), Outcome("limit reached", Effect.RATE_LIMITED, Step.NEXT_ACCOUNT))
    assert plane.candidate("a").reset_at == NOW + 60


def test_a_hint_is_capped_at_the_longest_window() -> None:
    plane = DataPlane(view("a"))
    far = Outcome("limit reached", Effect.RATE_LIMITED, Step.NEXT_ACCOUNT, NOW + 30 * 86_400)
    plane.pool.learn(plane.pool.member("a"), far)
    assert plane.candidate("a").reset_at == NOW + 7 * 86_400


def test_a_success_lifts_a_block_and_clears_errors() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    plane.pool.learn(member, LIMIT)
    plane.pool.learn(member, FAILURE)
    plane.pool.succeeded(member)
    assert (member.candidate.status, member.candidate.error_count) == ("active", 0)
    assert plane.ledger.told[-1] == ("unblock", "a", NOW)


def test_a_reading_that_merely_shows_room_lifts_nothing() -> None:
    plane = DataPlane(view("a", used=50))
    member = plane.pool.member("a")
    plane.pool.learn(member, LIMIT)
    plane.pool.sampled(member, reading(60, NOW + 3600, NOW + 5))
    assert member.candidate.status == "rate_limited"


def test_a_reading_whose_window_has_rolled_lifts_the_block() -> None:
    plane = DataPlane(view("a", used=50))
    member = plane.pool.member("a")
    plane.pool.learn(member, LIMIT)
    plane.pool.sampled(member, reading(60, NOW + 3 * 3600, NOW + 5))
    assert member.candidate.status == "active"


def test_a_pause_is_not_overwritten_by_what_requests_learn() -> None:
    plane = DataPlane(view("a", status="paused"))
    plane.pool.learn(plane.pool.member("a"), LIMIT)
    assert plane.candidate("a").status == "paused"
    assert plane.ledger.told == []


def test_a_snapshot_brings_the_operators_word() -> None:
    plane = DataPlane(view("a"))
    plane.swap(view("a", status="paused"), version=2)
    assert plane.candidate("a").status == "paused"


def test_a_snapshot_does_not_take_back_what_is_not_written_yet() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    plane.pool.learn(member, LIMIT)
    member.writing()
    plane.swap(view("a"), version=2)
    assert plane.candidate("a").status == "rate_limited"
    member.written(4)
    plane.swap(view("a"), version=3)
    assert plane.candidate("a").status == "rate_limited"
    plane.swap(view("a"), version=4)
    assert plane.candidate("a").status == "active"


def test_a_pause_that_comes_while_a_reading_is_written_holds_once_it_is() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    member.writing()
    member.writing()
    plane.swap(view("a", status="paused"), version=2)
    member.written(None)
    assert plane.candidate("a").status == "active"
    member.written(None)
    assert plane.candidate("a").status == "paused"


def test_a_snapshot_brings_whose_turn_it_is_and_the_reserve() -> None:
    plane = DataPlane(view("a"))
    plane.swap(view("a", policy="preserve", stop_at_percent=80), version=2)
    assert (plane.candidate("a").policy, plane.candidate("a").stop_at_percent) == ("preserve", 80)


def test_an_older_snapshot_is_ignored() -> None:
    plane = DataPlane(view("a"))
    plane.swap(view("a"), view("b"), version=3)
    plane.swap(view("a"), version=2)
    assert len(plane.pool) == 2


def test_a_deleted_account_is_gone() -> None:
    plane = DataPlane(view("a"), view("b"))
    plane.swap(view("b"), version=2)
    assert plane.pool.member("a") is None


def test_the_newer_token_and_the_newer_reading_stay() -> None:
    plane = DataPlane(view("a"))
    plane.pool.token_refreshed("a", Token("newer", 5, None))
    member = plane.pool.member("a")
    member.candidate.primary = Window(70.0, NOW + 3600, 300, NOW)
    plane.swap(view("a"), version=2)
    assert plane.pool.member("a").token.access == "newer"
    assert plane.candidate("a").primary.used_percent == 70.0


def test_requests_in_flight_survive_a_snapshot() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    plane.pool.begin(member)
    plane.swap(view("a"), version=2)
    plane.pool.end(member)
    assert plane.candidate("a").in_flight == 0


MODEL_LIMIT = Outcome(
    "model limit reached", Effect.MODEL_LIMITED, Step.NEXT_ACCOUNT, NOW + 600, limit_id="codex_other"
)


def test_a_refusal_for_one_model_holds_the_account_back_for_that_model_only() -> None:
    plane = DataPlane(view("a"))
    plane.pool.learn(plane.pool.member("a"), MODEL_LIMIT, "gpt-5.5-sonic")
    refusal = plane.pool.choose(Ask(model="gpt-5.5-sonic"))
    assert isinstance(refusal, Refusal)
    assert refusal.earliest_return == NOW + 600
    assert isinstance(plane.pool.choose(Ask(model="gpt-5.5")), Choice)
    assert plane.candidate("a").status == "active"
    ((kind, account_id, told),) = plane.ledger.told
    assert (kind, account_id, told.source) == ("sample", "a", "refusal")


def test_a_refusal_adds_nothing_to_a_reading_that_shows_the_limit_full() -> None:
    plane = DataPlane(view("a"))
    member = plane.pool.member("a")
    full = ModelLimit("codex_other", "GPT-5.5-Sonic", (WindowReading("secondary", 100, NOW + 9000, 10_080),))
    plane.pool.sampled(member, Sample((), NOW, "headers", model_limits=(full,)))
    plane.pool.learn(member, MODEL_LIMIT, "gpt-5.5-sonic")
    assert len(plane.ledger.told) == 1
    limit = plane.candidate("a").model_limits["codex_other"]
    assert (limit.name, limit.used_up_until(NOW)) == ("GPT-5.5-Sonic", NOW + 9000)


def test_a_limit_that_is_no_longer_told_goes_with_the_snapshot() -> None:
    limits = {"codex_other": KnownLimit("GPT-5.5-Sonic", {"primary": Window(100, NOW + 60, 300, NOW)})}
    plane = DataPlane(view("a", model_limits=limits))
    assert isinstance(plane.pool.choose(Ask(model="gpt-5.5-sonic")), Refusal)
    plane.swap(view("a"), version=2)
    assert isinstance(plane.pool.choose(Ask(model="gpt-5.5-sonic")), Choice)


def test_a_month_takes_the_place_of_the_week() -> None:
    plane = DataPlane(view("a", windows={}))
    month = WindowReading("monthly", 70, NOW + 86_400, 43_200)
    plane.pool.sampled(plane.pool.member("a"), Sample((month,), NOW, "headers"))
    assert plane.candidate("a").secondary == Window(70, NOW + 86_400, 43_200, NOW)
