"""A week of a pool, hour by hour, beside what upstream knows: no account in a wrong state, and none stuck."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts.tokens import FreshToken, RefreshRefused
from proxy.attempts import Services
from proxy.errors import Surfaced
from proxy.pool import Token
from proxy.snapshot import AccountView
from tests.proxy.fakes import NOW, Clock, DataPlane, limit, ok, refusal, view
from usage.windows import Sample, WindowReading

pytestmark = pytest.mark.asyncio

HOUR = 3600.0
HOURS_OF_A_WEEK = 168
TURNS_AN_HOUR = 6
# Turns that an account has in five hours, and in a week.
PRIMARY_ROOM, WEEK_ROOM = 12, 250


@dataclass
class Truth:
    """One account as upstream has it."""

    clock: Clock
    primary_used: int = 0
    week_used: int = 0
    primary_reset_at: float = NOW + 5 * HOUR
    week_reset_at: float = NOW + 100 * HOUR
    revoked: bool = False

    def roll(self) -> None:
        if self.clock() >= self.primary_reset_at:
            self.primary_used, self.primary_reset_at = 0, self.clock() + 5 * HOUR
        if self.clock() >= self.week_reset_at:
            self.week_used, self.week_reset_at = 0, self.clock() + HOURS_OF_A_WEEK * HOUR

    def reset_early(self) -> None:
        self.primary_reset_at = self.week_reset_at = self.clock()
        self.roll()

    @property
    def full_until(self) -> float | None:
        if self.week_used >= WEEK_ROOM:
            return self.week_reset_at
        return self.primary_reset_at if self.primary_used >= PRIMARY_ROOM else None

    @property
    def serves(self) -> bool:
        return not self.revoked and self.full_until is None

    def answer(self) -> Any:
        if self.revoked:
            return refusal(401, {"code": "token_invalidated", "message": "revoked"})
        if self.full_until is not None:
            return limit(self.full_until - NOW)
        self.primary_used += 1
        self.week_used += 1
        return ok()

    def reading(self) -> Sample:
        primary, week = 100.0 * self.primary_used / PRIMARY_ROOM, 100.0 * self.week_used / WEEK_ROOM
        windows = (
            WindowReading("primary", primary, self.primary_reset_at, 300),
            WindowReading("secondary", week, self.week_reset_at, 10_080),
        )
        return Sample(windows, self.clock(), "usage")


class Week:
    """Three accounts over a week: upstream and the sign-in service at once."""

    def __init__(self, *, has_readings: bool = True) -> None:
        self.has_readings = has_readings
        self.plane = plane = DataPlane(view("a"), view("b"), view("c"))
        self.clock = plane.clock
        self.truth = {name: Truth(plane.clock) for name in ("a", "b", "c")}
        self.refreshes: list[str] = []
        self.asked_after_revocation = 0
        seams: Any = (plane.pool, plane.affinity, self, self, plane.clock)
        plane.services = Services(*seams)

    async def respond(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Any:
        name = dict(headers)[b"chatgpt-account-id"].decode()
        self.asked_after_revocation += self.truth[name].revoked
        return self.truth[name].answer()

    async def refresh(self, account_id: str, *, stale_generation: int, reason: str = "") -> FreshToken:
        self.refreshes.append(account_id)
        if self.truth[account_id].revoked:
            raise RefreshRefused("refresh_token_invalidated", "The sign-in was revoked.")
        expires_at = datetime.fromtimestamp(self.clock() + 24 * HOUR, UTC)
        fresh = FreshToken("new", expires_at, stale_generation + 1)
        token = Token(fresh.access_token, fresh.generation, expires_at.timestamp())
        self.plane.pool.token_refreshed(account_id, token)
        return fresh

    async def hour(self) -> list[bool]:
        """Readings first, then turns; which of them were served, beside which could have been."""
        self.clock.now += HOUR
        for name, truth in self.truth.items():
            truth.roll()
            if self.has_readings and not truth.revoked:
                self.plane.pool.sampled(self.plane.pool.member(name), truth.reading())
        return [await self._is_served_rightly() for _ in range(TURNS_AN_HOUR)]

    async def _is_served_rightly(self) -> bool:
        could_serve = any(truth.serves for truth in self.truth.values())
        try:
            await self.plane.serve()
        except Surfaced:
            return not could_serve
        return could_serve

    def sign_in_again(self, name: str) -> None:
        self.truth[name].revoked = False
        views = (self._stored(each, signed_in=each == name) for each in self.truth)
        self.plane.swap(*views, version=2)

    def _stored(self, name: str, *, signed_in: bool) -> AccountView:
        if signed_in:
            return view(name, generation=99, access_expires_at=self.clock() + 24 * HOUR, windows={})
        known = self.plane.candidate(name)
        block = {field: getattr(known, field) for field in ("status", "blocked_at", "reset_at")}
        return view(name, windows={}, block_window_reset_at=known.block_window_reset_at, **block)

    def states(self) -> dict[str, str]:
        """As the next request would find them: a block that has ended is none."""
        found = {}
        for name in self.truth:
            known = self.plane.candidate(name)
            is_over = known.is_limited and known.reset_at <= self.clock()
            found[name] = "active" if is_over else known.status
        return found


@pytest.mark.parametrize("has_readings", [True, False])
async def test_every_account_is_in_the_right_state_at_every_hour_of_a_week(has_readings: bool) -> None:
    week = Week(has_readings=has_readings)
    seen: set[str] = set()
    for hour in range(1, HOURS_OF_A_WEEK + 1):
        # Without readings nobody can know of it before the block's own end.
        if hour == 60 and has_readings:
            week.truth["a"].reset_early()
        if hour == 72:
            week.truth["c"].revoked = True
        if hour == 120:
            week.sign_in_again("c")
        assert all(await week.hour()), f"a turn of hour {hour} went wrong"
        for name, state in week.states().items():
            truth = week.truth[name]
            seen.add(state)
            if state == "reauth_required":
                assert truth.revoked, f"hour {hour}: {name} is signed in"
            elif state != "active":
                assert truth.full_until == week.plane.candidate(name).reset_at, f"hour {hour}: {name}"
            assert truth.serves is False or state == "active", f"hour {hour}: {name} is stuck"
        if 80 <= hour < 120:
            assert week.states()["c"] == "reauth_required"
    assert seen == {"active", "rate_limited", "reauth_required"}
    assert week.asked_after_revocation <= 1, "a token that is refused for good is not sent again"
    assert min(week.refreshes.count(name) for name in week.truth) >= 3, "tokens end each day"
    assert week.refreshes.count("c") < 12


async def test_a_limit_that_upstream_lifts_early_is_over_with_the_next_reading() -> None:
    week = Week()
    for truth in week.truth.values():
        truth.week_used = WEEK_ROOM
    await week.hour()
    assert set(week.states().values()) == {"rate_limited"}
    week.truth["b"].reset_early()
    assert all(await week.hour())
    assert week.states() == {"a": "rate_limited", "b": "active", "c": "rate_limited"}
