"""The clock is set back or forth by an hour: what was noted by the former time binds nobody for that hour."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest

from accounts.operators import throttle
from proxy.outcomes import Effect, Outcome, Step
from proxy.routing import Ask
from proxy.throttle import FailureThrottle
from tests.builders import NOW
from tests.proxy.fakes import DataPlane, view

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
