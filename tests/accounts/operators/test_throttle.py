"""Eight wrong tries in a minute; the ninth waits."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from accounts.operators import throttle
from accounts.operators.models import Try
from tests.builders import NOW

pytestmark = pytest.mark.django_db


def fail(times: int, *, kind: str = "password", address: str = "192.0.2.1", after_s: float = 0.0) -> None:
    for _ in range(times):
        throttle.admit(kind, address, now=NOW + timedelta(seconds=after_s))


def test_the_ninth_wrong_try_is_refused_and_says_for_how_long() -> None:
    fail(1)
    fail(7, after_s=30)
    with pytest.raises(throttle.Throttled) as refused:
        fail(1, after_s=40)
    assert refused.value.retry_after_s == 20


def test_a_refused_try_does_not_prolong_the_wait() -> None:
    fail(8)
    for _ in range(5):
        with pytest.raises(throttle.Throttled):
            fail(1, after_s=50)
    assert Try.objects.count() == 8
    fail(1, after_s=60)


def test_success_makes_the_wrong_ones_forgotten() -> None:
    fail(8)
    throttle.succeed("password", "192.0.2.1")
    fail(8)


def test_a_right_one_may_take_back_only_itself() -> None:
    fail(7)
    throttle.take_back(throttle.admit("password", "192.0.2.1", now=NOW))
    fail(1)
    with pytest.raises(throttle.Throttled):
        fail(1)


def test_passwords_and_codes_are_counted_apart() -> None:
    # Whoever knows the password could otherwise give it again after every seven wrong codes.
    fail(8, kind="totp")
    throttle.succeed("password", "192.0.2.1")
    with pytest.raises(throttle.Throttled):
        fail(1, kind="totp")


def test_another_address_is_not_held_up() -> None:
    fail(8)
    fail(8, address="192.0.2.2")


def test_the_addresses_of_one_ipv6_network_count_as_one() -> None:
    fail(4, address="2001:db8::1")
    fail(4, address="2001:db8::ffff")
    with pytest.raises(throttle.Throttled):
        fail(1, address="2001:db8::2")
    fail(1, address="2001:db8:0:1::1")


def test_old_tries_are_removed() -> None:
    fail(3)
    fail(1, after_s=61)
    assert Try.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_at_the_same_moment_no_more_than_eight_are_looked_at() -> None:
    tries = 24
    together = threading.Barrier(tries)

    def admitted(number: int) -> bool:
        try:
            together.wait(10)
            fail(1)
        except throttle.Throttled:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(tries) as pool:
        looked_at = sum(pool.map(admitted, range(tries)))
    assert looked_at <= throttle.LIMIT
