"""One holder at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connections

from accounts.leases import acquire, release
from tests.builders import NOW

pytestmark = pytest.mark.django_db(transaction=True)

ANN, BOB = uuid4(), uuid4()


def take(holder: UUID, after_s: float = 0) -> bool:
    return acquire("job", holder=holder, ttl_s=30, now=NOW + timedelta(seconds=after_s))


def test_one_gets_it_and_the_other_does_not() -> None:
    assert take(ANN)
    assert not take(BOB)


def test_its_holder_prolongs_it() -> None:
    take(ANN)
    assert take(ANN, 20)
    assert not take(BOB, 40)


def test_an_expired_lease_is_taken_over() -> None:
    take(ANN)
    assert take(BOB, 30)
    assert not take(ANN, 31)


def test_a_released_lease_is_free() -> None:
    take(ANN)
    release("job", ANN)
    assert take(BOB)


def test_only_the_holder_releases_it() -> None:
    take(ANN)
    release("job", BOB)
    assert not take(BOB)


def test_of_many_at_once_one_gets_it() -> None:
    def compete(holder: UUID) -> bool:
        try:
            return take(holder)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(compete, [uuid4() for _ in range(8)])) == 1
