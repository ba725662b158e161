"""The clock is set back or forth by an hour: what was noted by the former time binds nobody for that hour."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from uuid import uuid4

import pytest

from accounts import leases
from accounts.operators import throttle
from proxy.affinity import Affinity
from proxy.outcomes import Effect, Outcome, Step
from proxy.routing import Ask
from proxy.throttle import FailureThrottle
from tests.builders import NOW, make_account
from tests.proxy.fakes import DataPlane, view
from usage.models import CurrentWindow
from usage.services import sample_store
from usage.windows import Sample, WindowReading

HOUR = timedelta(hours=1)
HOUR_S = 3600.0
FAILURE = Outcome("upstream error", Effect.TRANSIENT, Step.NEXT_ACCOUNT)
ADDRESS = ipaddress.ip_address("192.0.2.1")


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_an_account_that_cools_down_is_asked_again(jump_s: float) -> None:
    plane = DataPlane(view("a"), view("b"))
    member = plane.pool.member("a")
    assert member is not None
    for _ in range(5):
        plane.pool.learn(member, FAILURE)
    assert [passed.reason for passed in plane.pool.choose(Ask()).passed_over] == ["cooling down after errors"]
    plane.clock.now += jump_s
    assert plane.pool.choose(Ask()).passed_over == ()


@pytest.mark.parametrize("jump_s", [-HOUR_S, HOUR_S])
def test_who_was_wrong_too_often_may_try_again(jump_s: float) -> None:
    wrong_keys = FailureThrottle(8, 60.0, 100)
    for _ in range(8):
        wrong_keys.failed(ADDRESS, HOUR_S)
    assert wrong_keys.wait_s(ADDRESS, HOUR_S) > 0
    assert wrong_keys.wait_s(ADDRESS, HOUR_S + jump_s) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_who_signed_in_wrongly_too_often_may_try_again(jump: timedelta) -> None:
    for _ in range(8):
        throttle.admit("password", "192.0.2.1", now=NOW)
    with pytest.raises(throttle.Throttled):
        throttle.admit("password", "192.0.2.1", now=NOW)
    throttle.admit("password", "192.0.2.1", now=NOW + jump)


@pytest.mark.django_db
def test_the_lease_of_one_that_died_is_not_kept_for_that_hour() -> None:
    ann, bob = uuid4(), uuid4()
    assert leases.acquire("job", holder=ann, ttl_s=60, now=NOW)
    assert leases.acquire("job", holder=bob, ttl_s=60, now=NOW - HOUR)
    # A clock that merely goes a little wrong takes nothing from anybody.
    assert not leases.acquire("job", holder=ann, ttl_s=60, now=NOW - HOUR - timedelta(seconds=30))


@pytest.mark.django_db
def test_what_is_read_after_a_step_back_replaces_what_was_read_before() -> None:
    account = make_account()
    for used, at in ((90.0, NOW), (10.0, NOW - HOUR)):
        reading = WindowReading("primary", used, (NOW + HOUR).timestamp(), 300)
        sample_store(account_id=account.pk, sample=Sample((reading,), at.timestamp(), "usage", None, None))
    row = CurrentWindow.objects.get()
    assert (row.used_percent, row.recorded_at) == (10.0, NOW - HOUR)


def test_a_conversation_stays_on_its_account() -> None:
    affinity = Affinity()
    affinity.served("one", "a", HOUR_S, moves=False)
    for now in (0.0, 2 * HOUR_S):
        entry = affinity.get("one", now)
        assert entry is not None and entry.account_id == "a"
