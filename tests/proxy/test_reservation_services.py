from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from proxy.budgets import NOTHING, Amounts, Claim, Held, OverLimit, Settlement
from proxy.key_services import LimitRule, api_key_create, api_key_delete, limits_replace
from proxy.models import ApiKey, ApiKeyLimit, Reservation
from proxy.reservation_services import limits_apply, reservations_prolong, reservations_reclaim

pytestmark = pytest.mark.django_db

US, OTHERS = UUID(int=1), UUID(int=2)


def later(seconds: float = 0.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def make_key(*rules: LimitRule) -> ApiKey:
    return api_key_create(name="k", limits=rules or (LimitRule("requests", "daily", 2),)).key


def claim(key: ApiKey, model: str = "gpt-5.5", **amounts: int) -> Claim:
    return Claim(key.pk, model, Amounts(**{"requests": 1, **amounts}))


def apply(
    *claims: Claim, settlements: tuple[Settlement, ...] = (), holder: UUID = US, now: datetime | None = None
) -> list[Held | OverLimit]:
    return limits_apply(holder=holder, claims=claims, settlements=settlements, now=now or later())


def hold(key: ApiKey, **fields: Any) -> Held:
    (answer,) = apply(claim(key), **fields)
    assert isinstance(answer, Held)
    return answer


ONE = Amounts(1)


def settled(held: Held, spent: Amounts = ONE) -> Settlement:
    return Settlement(held.claim.key_id, held.claim.model, spent, held)


def limit(key: ApiKey) -> ApiKeyLimit:
    return key.limits.get()


def test_it_works() -> None:
    key = make_key()
    held = hold(key)
    assert (limit(key).used, limit(key).reserved, Reservation.objects.count()) == (0, 1, 1)
    apply(settlements=(settled(held),))
    assert (limit(key).used, limit(key).reserved, Reservation.objects.count()) == (1, 0, 0)


def test_a_group_shares_what_there_is() -> None:
    key = make_key()
    answers = apply(*[claim(key)] * 5)
    assert [isinstance(answer, Held) for answer in answers] == [True, True, False, False, False]
    assert limit(key).reserved == 2


def test_what_ends_in_a_group_makes_room_in_it() -> None:
    key = make_key(LimitRule("requests", "daily", 1))
    held = hold(key)
    (answer,) = apply(claim(key), settlements=(settled(held, NOTHING),))
    assert isinstance(answer, Held)


def test_a_request_is_settled_once() -> None:
    key = make_key()
    held = hold(key)
    apply(settlements=(settled(held),))
    apply(settlements=(settled(held, NOTHING),))
    assert (limit(key).used, limit(key).reserved) == (1, 0)


def test_a_released_request_has_cost_nothing() -> None:
    key = make_key()
    apply(settlements=(settled(hold(key), NOTHING),))
    assert (limit(key).used, limit(key).reserved) == (0, 0)


def test_real_figures_may_be_more_than_was_held() -> None:
    key = make_key(LimitRule("total_tokens", "daily", 1_000))
    (held,) = apply(claim(key, input_tokens=10, output_tokens=10))
    assert isinstance(held, Held)
    assert limit(key).reserved == 20
    apply(settlements=(settled(held, Amounts(1, 2_000, 500)),))
    assert (limit(key).used, limit(key).reserved) == (2_500, 0)
    assert isinstance(apply(claim(key))[0], OverLimit)


def test_a_new_window_has_its_room_back() -> None:
    key = make_key(LimitRule("requests", "5h", 1))
    apply(settlements=(settled(hold(key)),))
    assert isinstance(apply(claim(key))[0], OverLimit)
    assert isinstance(apply(claim(key), now=later(5 * 3600 + 1))[0], Held)
    assert (limit(key).used, limit(key).reserved) == (0, 1)


def test_what_a_dead_process_held_comes_back_when_it_is_needed() -> None:
    key = make_key(LimitRule("requests", "daily", 1))
    hold(key, holder=OTHERS)
    assert isinstance(apply(claim(key), now=later(29))[0], OverLimit)
    assert isinstance(apply(claim(key), now=later(31))[0], Held)
    assert (limit(key).reserved, Reservation.objects.count()) == (1, 1)


def test_what_a_dead_process_held_is_given_back_from_time_to_time() -> None:
    key = make_key()
    hold(key, holder=OTHERS)
    assert reservations_reclaim(now=later(29)) == 0
    assert reservations_reclaim(now=later(31)) == 1
    assert (limit(key).reserved, Reservation.objects.count()) == (0, 0)


def test_a_process_that_lives_keeps_what_it_holds() -> None:
    key = make_key(LimitRule("requests", "daily", 1))
    held = hold(key, holder=OTHERS)
    assert reservations_prolong(holder=OTHERS, now=later(25)) == 1
    assert isinstance(apply(claim(key), now=later(50))[0], OverLimit)
    apply(settlements=(settled(held),), holder=OTHERS)
    assert limit(key).used == 1


def test_who_was_taken_for_dead_is_charged_all_the_same() -> None:
    key = make_key()
    held = hold(key)
    reservations_reclaim(now=later(31))
    apply(settlements=(settled(held),))
    assert (limit(key).used, limit(key).reserved) == (1, 0)


def test_a_limit_that_was_added_meanwhile_is_charged() -> None:
    key = api_key_create(name="k").key
    limits_replace(key=key, rules=[LimitRule("requests", "daily", 5)])
    apply(settlements=(Settlement(key.pk, "gpt-5.5", Amounts(1)),))
    assert limit(key).used == 1


def test_a_key_that_is_gone_stops_nobody() -> None:
    key, other = make_key(), make_key()
    held = hold(key)
    api_key_delete(key_id=key.pk)
    (answer,) = apply(claim(other), settlements=(settled(held),))
    assert isinstance(answer, Held)
    (answer,) = apply(Claim(key.pk, "gpt-5.5", Amounts(1)))
    assert isinstance(answer, Held) and answer.amounts == {}


def test_keys_do_not_use_up_each_others_room() -> None:
    one, two = (make_key(LimitRule("requests", "daily", 1)) for _ in range(2))
    answers = apply(claim(one), claim(two), claim(one))
    assert [isinstance(answer, Held) for answer in answers] == [True, True, False]
