"""Room in limits is asked for in groups, settled once, and never kept by who does not wait any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError

from codexproxy.db import DatabaseThread
from proxy import limits
from proxy.budgets import Amounts, Claim, Held, OverLimit, Settlement
from proxy.key_services import LimitRule, api_key_create
from proxy.models import ApiKey, ApiKeyLimit, Reservation
from proxy.reservations import LimitsUnavailable, Reservations
from tests.requestlogs.test_writer import Time as PausesTime

pytestmark = pytest.mark.django_db(transaction=True)

ONE = Amounts(1)


class Time(PausesTime):
    """Only the pauses between tries move it: nothing here is held long enough to be prolonged."""

    async def sleep(self, seconds: float) -> None:
        if seconds == limits.RESERVATION_PROLONG_S:
            await asyncio.Event().wait()
        await super().sleep(seconds)


class Thread(DatabaseThread):
    """Counts the calls; those that `failures` has an error for do not get through."""

    def __init__(self) -> None:
        super().__init__("test")
        self.calls: list[str] = []
        self.failures: list[Exception] = []

    async def run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.calls.append(function.__name__)
        if self.failures:
            raise self.failures.pop(0)
        return await super().run(function, *args, **kwargs)


@pytest.fixture
def thread() -> Iterator[Thread]:
    thread = Thread()
    yield thread
    thread.close()


@pytest.fixture
def key() -> ApiKey:
    return api_key_create(name="k", limits=[LimitRule("requests", "daily", 3)]).key


def claim(key: ApiKey) -> Claim:
    return Claim(key.pk, "gpt-5.5", ONE)


def settled(held: Held | OverLimit, spent: Amounts = ONE) -> Settlement:
    assert isinstance(held, Held)
    return Settlement(held.claim.key_id, held.claim.model, spent, held)


def row() -> tuple[int, int]:
    found = ApiKeyLimit.objects.get()
    return found.used, found.reserved


def test_it_works(thread: Thread, key: ApiKey) -> None:
    async def scenario() -> None:
        reservations = Reservations(thread)
        await reservations.start()
        held = await reservations.reserve(claim(key))
        reservations.settle(settled(held))
        await reservations.stop()

    asyncio.run(scenario())
    assert (row(), Reservation.objects.count()) == ((1, 0), 0)


def test_those_who_wait_are_answered_together(thread: Thread, key: ApiKey) -> None:
    async def scenario() -> list[Held | OverLimit]:
        reservations = Reservations(thread)
        await reservations.start()
        found = await asyncio.gather(*(reservations.reserve(claim(key)) for _ in range(50)))
        await reservations.stop()
        return found

    answers = asyncio.run(scenario())
    assert sum(isinstance(answer, Held) for answer in answers) == 3
    assert len(thread.calls) <= 2
    assert row() == (0, 3)


class Company:
    """The moment that claims wait for others; it ends when the test says so."""

    def __init__(self) -> None:
        self.is_awaited = asyncio.Event()
        self.may_end = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        if seconds == limits.RESERVATION_PROLONG_S:
            await asyncio.Event().wait()
        self.is_awaited.set()
        await self.may_end.wait()


def test_where_many_come_a_claim_waits_for_others(thread: Thread, key: ApiKey) -> None:
    async def scenario() -> None:
        company = Company()
        reservations = Reservations(thread, sleep=company.sleep)
        await reservations.start()
        await asyncio.gather(*(reservations.reserve(claim(key)) for _ in range(2)))
        first = asyncio.ensure_future(reservations.reserve(claim(key)))
        await company.is_awaited.wait()
        second = asyncio.ensure_future(reservations.reserve(claim(key)))
        await asyncio.sleep(0)
        company.may_end.set()
        await asyncio.gather(first, second)
        await reservations.stop()

    asyncio.run(scenario())
    assert thread.calls == ["limits_apply", "limits_apply"]


def test_who_comes_alone_does_not_wait_for_others(thread: Thread, key: ApiKey) -> None:
    async def scenario() -> bool:
        company = Company()
        reservations = Reservations(thread, sleep=company.sleep)
        await reservations.start()
        for _ in range(2):
            await reservations.reserve(claim(key))
        await reservations.stop()
        return company.is_awaited.is_set()

    assert not asyncio.run(scenario())
    assert thread.calls == ["limits_apply", "limits_apply"]


def test_who_is_cancelled_while_waiting_holds_nothing(thread: Thread, key: ApiKey) -> None:
    async def scenario() -> None:
        reservations = Reservations(thread)
        await reservations.start()
        waiting = asyncio.ensure_future(reservations.reserve(claim(key)))
        await asyncio.sleep(0)  # its claim waits
        await asyncio.sleep(0)  # and is taken
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await reservations.stop()

    asyncio.run(scenario())
    assert thread.calls
    assert (row(), Reservation.objects.count()) == ((0, 0), 0)


def test_a_locked_database_refuses_claims_and_loses_no_settlement(thread: Thread, key: ApiKey) -> None:
    time = Time()

    async def scenario() -> None:
        reservations = Reservations(thread, clock=time, sleep=time.sleep)
        await reservations.start()
        held = await reservations.reserve(claim(key))
        thread.failures = [OperationalError("database is locked")] * 3
        reservations.settle(settled(held))
        with pytest.raises(LimitsUnavailable):
            await reservations.reserve(claim(key))
        while len(time.pauses) < 3:
            await asyncio.sleep(0)
        await reservations.stop()

    asyncio.run(scenario())
    assert time.pauses[:3] == [0.1, 0.2, 0.4]
    assert row() == (1, 0)


def test_a_stop_does_not_wait_for_a_database_that_does_not_come_back(
    thread: Thread, key: ApiKey, caplog: pytest.LogCaptureFixture
) -> None:
    time = Time()

    async def scenario() -> None:
        reservations = Reservations(thread, clock=time, sleep=time.sleep)
        await reservations.start()
        held = await reservations.reserve(claim(key))
        thread.failures = [OperationalError("gone")] * 1000
        reservations.settle(settled(held))
        await reservations.stop()

    asyncio.run(scenario())
    assert "1 requests were not settled" in caplog.text
    assert row() == (0, 1)


def test_what_is_held_is_prolonged_until_it_is_settled(thread: Thread, key: ApiKey) -> None:
    """The clock jumps with each pause; what is held must always end later than now."""
    now = datetime.now(UTC)
    pauses = 0

    async def scenario() -> None:
        nonlocal now, pauses
        released, reserved = asyncio.Event(), asyncio.Event()

        async def sleep(seconds: float) -> None:
            nonlocal now, pauses
            await reserved.wait()
            if pauses == 5:
                released.set()
                await asyncio.Event().wait()
            pauses += 1
            now += timedelta(seconds=seconds)
            await asyncio.sleep(0)

        reservations = Reservations(thread, now=lambda: now, sleep=sleep)
        await reservations.start()
        await reservations.reserve(claim(key))
        reserved.set()
        await released.wait()
        await reservations.stop()

    asyncio.run(scenario())
    assert "reservations_prolong" in thread.calls
    assert Reservation.objects.get().expires_at > now


def test_a_process_without_limited_requests_never_touches_the_database(thread: Thread) -> None:
    time = PausesTime()

    async def scenario() -> None:
        reservations = Reservations(thread, clock=time, sleep=time.sleep)
        await reservations.start()
        for _ in range(10):
            await asyncio.sleep(0)
        await reservations.stop()

    asyncio.run(scenario())
    assert len(time.pauses) > 3
    assert thread.calls == []
