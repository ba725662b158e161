"""What a turn needs before it goes out, and that all of it is given back however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from proxy.access import Access
from proxy.admission import Admission
from proxy.budgets import NOTHING, Claim, Held, OverLimit, Settlement
from proxy.dialects.codex import read_request
from proxy.errors import Busy, ProxyError
from proxy.keys import KeyView
from proxy.reservations import LimitsUnavailable
from requestlogs.records import Record, TokenCounts
from tests.proxy.fakes import NOW

REQUEST = read_request(b'{"model":"gpt-5.5","input":[]}')
NOBODY = Access()


class FakeReservations:
    """Answers with what is scripted, else with room; remembers what was settled."""

    def __init__(self, *answers: OverLimit | Exception) -> None:
        self.answers = list(answers)
        self.claims: list[Claim] = []
        self.settled: list[Settlement] = []

    async def reserve(self, claim: Claim) -> Held | OverLimit:
        self.claims.append(claim)
        answer = self.answers.pop(0) if self.answers else Held(uuid4(), claim, {1: 1})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def settle(self, settlement: Settlement) -> None:
        self.settled.append(settlement)


def access(**fields: Any) -> Access:
    return Access(KeyView(7, **fields))


def record(**fields: Any) -> Record:
    return Record("rid", datetime.fromtimestamp(NOW, UTC), model="gpt-5.5", **fields)


def admission(
    reservations: FakeReservations | None = None, *, capacity: int = 10, limited: bool = False
) -> Admission:
    seam: Any = reservations or FakeReservations()
    return Admission(seam, lambda key_id: limited, capacity=capacity, clock=lambda: NOW)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    asyncio.run(main())


def test_a_turn_is_reserved_before_and_settled_after() -> None:
    reservations = FakeReservations()
    one = record()

    async def scenario() -> None:
        async with admission(reservations).turn(access(has_limits=True), REQUEST, one, native=True):
            assert [claim.key_id for claim in reservations.claims] == [7]
            assert reservations.settled == []
            one.status, one.tokens = "success", TokenCounts(input=100, output=5)

    run(scenario)
    (settlement,) = reservations.settled
    assert settlement.held is not None
    assert (settlement.spent.requests, settlement.spent.total_tokens) == (1, 105)


@pytest.mark.parametrize("failure", [asyncio.CancelledError(), ProxyError(502, "x", "y"), RuntimeError()])
def test_a_turn_that_fails_costs_nothing(failure: BaseException) -> None:
    reservations = FakeReservations()

    async def scenario() -> None:
        with pytest.raises(type(failure)):
            async with admission(reservations).turn(access(has_limits=True), REQUEST, record(), native=True):
                raise failure

    run(scenario)
    assert [settlement.spent for settlement in reservations.settled] == [NOTHING]


def test_who_leaves_in_the_middle_of_an_answer_pays_for_what_it_has_got() -> None:
    reservations = FakeReservations()
    one = record(pieces_sent=40)

    async def scenario() -> None:
        with pytest.raises(asyncio.CancelledError):
            async with admission(reservations).turn(access(has_limits=True), REQUEST, one, native=True):
                raise asyncio.CancelledError

    run(scenario)
    (settlement,) = reservations.settled
    assert (settlement.spent.requests, settlement.spent.output_tokens) == (1, 40)
    assert settlement.spent.input_tokens > 0 and settlement.spent.cost_usd > 0


def test_an_answer_that_upstream_breaks_off_costs_nothing() -> None:
    reservations = FakeReservations()
    one = record(pieces_sent=40, error_code="stream_incomplete")

    async def scenario() -> None:
        async with admission(reservations).turn(access(has_limits=True), REQUEST, one, native=True):
            pass

    run(scenario)
    assert [settlement.spent for settlement in reservations.settled] == [NOTHING]


def test_a_tool_is_limited_by_its_own_name() -> None:
    reservations = FakeReservations()
    image = replace(REQUEST, known_as="gpt-image-2")

    async def scenario() -> None:
        async with admission(reservations).turn(access(has_limits=True), image, record(), native=False):
            pass

    run(scenario)
    assert [claim.model for claim in reservations.claims] == ["gpt-image-2"]
    assert [settlement.model for settlement in reservations.settled] == ["gpt-image-2"]


def test_who_has_no_limits_asks_nobody() -> None:
    reservations = FakeReservations()

    async def scenario() -> None:
        for who in (NOBODY, access()):
            async with admission(reservations).turn(who, REQUEST, record(), native=True):
                pass

    run(scenario)
    assert (reservations.claims, reservations.settled) == ([], [])


def test_limits_that_came_while_the_turn_ran_are_charged() -> None:
    reservations = FakeReservations()

    async def scenario() -> None:
        one = record(status="success")
        async with admission(reservations, limited=True).turn(access(), REQUEST, one, native=True):
            pass

    run(scenario)
    assert [(each.held, each.spent.requests) for each in reservations.settled] == [(None, 1)]


@pytest.mark.parametrize(("native", "code"), [(True, "usage_limit_reached"), (False, "rate_limit_exceeded")])
def test_over_a_limit_nothing_goes_out_and_nothing_is_held(native: bool, code: str) -> None:
    full = OverLimit("requests", "daily", "", 10, 10, NOW + 60, is_held=False)
    reservations = FakeReservations(full)
    admitting = admission(reservations)

    async def scenario() -> None:
        with pytest.raises(ProxyError) as caught:
            async with admitting.turn(access(has_limits=True), REQUEST, record(), native=native):
                raise AssertionError("it must not go out")
        assert (caught.value.status, caught.value.code) == (429, code)

    run(scenario)
    assert (reservations.settled, admitting.in_flight) == ([], 0)


def test_limits_that_cannot_be_read_are_not_open() -> None:
    async def scenario() -> None:
        with pytest.raises(ProxyError) as caught:
            reservations = FakeReservations(LimitsUnavailable())
            async with admission(reservations).turn(access(has_limits=True), REQUEST, record(), native=True):
                raise AssertionError("it must not go out")
        assert (caught.value.status, caught.value.code) == (503, "limits_unavailable")

    run(scenario)


def test_a_full_process_says_when_to_come_back() -> None:
    admitting = admission(capacity=1)

    async def scenario() -> None:
        async with admitting.turn(NOBODY, REQUEST, record(), native=True):
            with pytest.raises(Busy) as caught:
                async with admitting.turn(NOBODY, REQUEST, record(), native=True):
                    pass
            assert (caught.value.status, caught.value.code) == (429, "server_busy")
            assert caught.value.headers == ((b"retry-after", b"5"),)
        async with admitting.turn(NOBODY, REQUEST, record(), native=True):
            assert admitting.in_flight == 1

    run(scenario)


def test_a_key_has_so_many_requests_at_once() -> None:
    admitting = admission()
    one = access(max_parallel=1)

    async def scenario() -> None:
        async with admitting.turn(one, REQUEST, record(), native=True):
            with pytest.raises(Busy, match="1 requests running"):
                async with admitting.turn(one, REQUEST, record(), native=True):
                    pass
            async with admitting.turn(Access(KeyView(8, max_parallel=1)), REQUEST, record(), native=True):
                pass
        async with admitting.turn(one, REQUEST, record(), native=True):
            pass

    run(scenario)
