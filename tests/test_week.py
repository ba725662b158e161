"""A week of a pool, hour by hour, beside what upstream knows: no account in a wrong state, and none stuck."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from accounts import services
from accounts.auth_file import parse
from accounts.models import Account
from accounts.tokens import FreshToken, RefreshRefused, TokenRefresher, refresh_due
from accounts.unsaved import Unsaved
from codexproxy.db import DatabaseThread
from proxy.attempts import Services
from proxy.errors import Surfaced
from proxy.ledger import DatabaseLedger
from proxy.pool import Pool, Token
from proxy.selectors import load_snapshot
from proxy.snapshot import AccountView
from tests.accounts.sign_in_service import Answer, refused
from tests.builders import make_account, make_auth_json, make_jwt
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
    week_room: int = WEEK_ROOM
    # The week's end is told as a quota, not as a limit.
    has_quota: bool = False

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
        if self.week_used >= self.week_room:
            return self.week_reset_at
        return self.primary_reset_at if self.primary_used >= PRIMARY_ROOM else None

    @property
    def serves(self) -> bool:
        return not self.revoked and self.full_until is None

    def answer(self) -> Any:
        if self.revoked:
            return refusal(401, {"code": "token_invalidated", "message": "revoked"})
        if self.full_until is not None:
            if self.has_quota and self.full_until == self.week_reset_at:
                error = {"code": "insufficient_quota", "message": "quota", "resets_at": int(self.full_until)}
                return refusal(429, error)
            return limit(self.full_until - NOW)
        self.primary_used += 1
        self.week_used += 1
        return ok()

    def reading(self) -> Sample:
        primary, week = 100.0 * self.primary_used / PRIMARY_ROOM, 100.0 * self.week_used / self.week_room
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


# --- the same week in the database ----------------------------------------------------------------

NAMES = ("a", "b", "c")
# So few that the week of an account ends before its time.
STORED_WEEK_ROOM = 120
Row = tuple[str, float | None]


class SignIns:
    """The sign-in service: each refresh token works once. Stands in for the HTTP client."""

    def __init__(self, truth: dict[str, Truth], clock: Clock) -> None:
        self.truth, self.clock = truth, clock
        self.valid = {f"refresh-1-of-{name}": name for name in truth}
        self.asked: list[str] = []
        self.spent_twice: list[str] = []

    def issue(self, name: str) -> dict[str, str]:
        refresh_token = f"refresh-{len(self.asked)}-of-{name}"
        self.valid[refresh_token] = name
        access_token = make_jwt({"exp": self.clock() + 24 * HOUR, "number": len(self.asked)})
        return {"access_token": access_token, "refresh_token": refresh_token}

    async def send(self, method: str, url: str, headers: Any, content: bytes, timeouts: Any) -> Answer:
        token = json.loads(content)["refresh_token"]
        name = self.valid.pop(token, "")
        self.asked.append(name)
        if not name:
            self.spent_twice.append(token)
            return refused("refresh_token_reused")
        if self.truth[name].revoked:
            return refused("refresh_token_invalidated")
        return Answer(200, self.issue(name))


class StoredWeek(Week):
    """The pool of one process with its real ledger, token refresher and services."""

    def __init__(self, thread: DatabaseThread, *, has_readings: bool) -> None:
        super().__init__(has_readings=has_readings)
        self.thread = thread
        for truth in self.truth.values():
            truth.week_room, truth.has_quota = STORED_WEEK_ROOM, True
        self.sign_ins = SignIns(self.truth, self.clock)
        given: dict[str, Any] = {"client": self.sign_ins, "now": self.moment, "unsaved": Unsaved()}
        self.refresher = TokenRefresher(thread=thread, auth_base_url="http://auth.test", **given)
        self.ledger = DatabaseLedger(thread)
        self.plane.pool = Pool(self.ledger, self.clock, random.Random(1))
        self.ledger.attach(self.plane.pool)
        seams: Any = (self.plane.pool, self.plane.affinity, self, self.refresher, self.clock)
        self.plane.services = Services(*seams)

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    async def begin(self) -> None:
        for name in NAMES:
            times = {"access_expires_at": self.moment() + timedelta(hours=24), "refreshed_at": self.moment()}
            await self.thread.run(partial(make_account, name, **times))
        await self.look()

    async def look(self) -> None:
        """Everything learned is written, and read again."""
        await self.ledger.stop()
        self.plane.pool.swap(await self.thread.run(load_snapshot))

    async def hour(self) -> list[bool]:
        await refresh_due(self.refresher, self.thread, self.moment())
        await self.look()
        served = await super().hour()
        await self.ledger.stop()
        return served

    async def sign_in(self, name: str) -> None:
        self.truth[name].revoked = False
        made = make_auth_json(email=f"{name}@example.com", account_id=name, last_refresh=None)
        made["tokens"] |= self.sign_ins.issue(name)
        made["last_refresh"] = self.moment().isoformat()
        again = partial(
            services.account_sign_in_again,
            account_id=name,
            auth=parse(json.dumps(made)),
            source="test",
        )
        await self.thread.run(again)
        await self.look()

    async def rows(self) -> dict[str, Row]:
        def read() -> dict[str, Row]:
            return {
                row.pk: (row.status, row.reset_at and row.reset_at.timestamp())
                for row in Account.objects.all()
            }

        return await self.thread.run(read)


@asynccontextmanager
async def stored_week(*, has_readings: bool) -> AsyncIterator[StoredWeek]:
    thread = DatabaseThread("week")
    try:
        week = StoredWeek(thread, has_readings=has_readings)
        await week.begin()
        yield week
    finally:
        thread.close()


def check_row(row: Row, truth: Truth, when: str) -> None:
    status, reset_at = row
    if status == "reauth_required":
        assert truth.revoked, f"{when}: is signed in"
    elif status != "active":
        assert reset_at is not None, f"{when}: no end"
        # After its end nobody has asked yet; until then it is upstream's.
        assert reset_at <= truth.clock() or reset_at == truth.full_until, f"{when}: is stuck"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_readings", [True, False])
async def test_every_account_is_stored_in_the_right_state_at_every_hour_of_a_week(has_readings: bool) -> None:
    seen: set[str] = set()
    async with stored_week(has_readings=has_readings) as week:
        for hour in range(1, HOURS_OF_A_WEEK + 1):
            if hour == 60 and has_readings:
                week.truth["a"].reset_early()
            week.truth["c"].revoked = 72 <= hour < 120
            if hour == 120:
                await week.sign_in("c")
            assert all(await week.hour()), f"a turn of hour {hour} went wrong"
            rows = await week.rows()
            for name, row in rows.items():
                seen.add(row[0])
                check_row(row, week.truth[name], f"hour {hour}: {name}")
            if 100 <= hour < 120:
                assert rows["c"][0] == "reauth_required"
        await _asked_once_more(week)
        assert {status for status, _ in (await week.rows()).values()} == {"active"}, "one is stuck"
    assert seen == {"active", "rate_limited", "quota_exceeded", "reauth_required"}
    assert week.sign_ins.spent_twice == []
    assert min(week.sign_ins.asked.count(name) for name in NAMES) >= 3, "tokens end each day"


async def _asked_once_more(week: StoredWeek) -> None:
    """When all windows have begun anew, so often that each account has its turn."""
    week.clock.now += HOURS_OF_A_WEEK * HOUR
    for _ in range(2):
        assert all(await week.hour())
