"""Whatever happens to an account, in whichever order and process: no state is one that it cannot leave."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import services
from accounts.auth_file import parse
from accounts.models import Account, Credential
from proxy.outcomes import Effect, Outcome, Step
from proxy.pool import Member, Pool
from proxy.routing import Ask, Candidate, Choice
from proxy.selectors import load_snapshot
from tests.builders import make_auth_json, make_jwt
from usage.models import CurrentWindow
from usage.services import sample_store
from usage.windows import Sample, WindowReading

pytestmark = pytest.mark.django_db

NOW, HOUR, DAY = 1_900_000_000.0, 3600.0, 86_400.0
LONGEST_WINDOW_S = 31 * DAY
OUT = ("paused", "reauth_required", "deactivated")
Write = Callable[[], int | None]


def moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


class WrittenAtOnce:
    """The ledger's writes, without its thread."""

    pool: Pool

    def block(self, member: Member) -> None:
        known = member.candidate
        blocked_at = moment(known.blocked_at)
        assert blocked_at is not None
        self._write(
            known.account_id,
            lambda: services.account_block(
                account_id=known.account_id,
                status=known.status,
                reason=known.reason,
                blocked_at=blocked_at,
                reset_at=moment(known.reset_at),
                window_reset_at=moment(known.block_window_reset_at),
            ),
        )

    def unblock(self, account_id: str, cause: str, blocked_at: float | None) -> None:
        at = moment(blocked_at)
        self._write(
            account_id,
            lambda: services.account_unblock(account_id=account_id, cause=cause, blocked_at=at),
        )

    def sign_in_needed(self, account_id: str, reason: str, generation: int, code: str = "") -> None:
        self._write(
            account_id,
            lambda: services.account_require_sign_in(
                account_id=account_id, reason=reason, generation=generation, code=code
            ),
        )

    def deactivate(self, account_id: str, reason: str, code: str = "") -> None:
        self._write(
            account_id,
            lambda: services.account_deactivate(account_id=account_id, reason=reason, code=code),
        )

    def sample(self, account_id: str, sample: Sample) -> None:
        self._write(account_id, lambda: sample_store(account_id=account_id, sample=sample))

    def _write(self, account_id: str, write: Write) -> None:
        member = self.pool.member(account_id)
        assert member is not None
        member.known_from_version = max(member.known_from_version, write() or 0)


@dataclass
class World:
    """One account, as the database and two processes have it."""

    now: float = NOW
    pools: list[Pool] = field(default_factory=list)

    def __post_init__(self) -> None:
        Account.objects.all().delete()
        auth = parse(json.dumps(make_auth_json(user_id="ann")))
        self.account_id = services.account_import(auth=auth, source="test").account.pk
        for _ in range(2):
            ledger = WrittenAtOnce()
            pool = Pool(ledger, lambda: self.now, random.Random(1))
            ledger.pool = pool
            self.pools.append(pool)
        self.look()

    def look(self, pools: Iterable[Pool] = ()) -> None:
        for pool in pools or self.pools:
            pool.swap(load_snapshot())

    def member(self, process: int) -> Member:
        found = self.pools[process].member(self.account_id)
        assert found is not None
        return found

    @property
    def account(self) -> Account:
        return Account.objects.get(pk=self.account_id)

    # --- what may happen ----------------------------------------------------------------------

    def refuse(self, process: int, resets_in: float | None, *, is_quota: bool) -> None:
        effect = Effect.QUOTA_EXCEEDED if is_quota else Effect.RATE_LIMITED
        reset_at = None if resets_in is None or resets_in <= 0 else self.now + resets_in
        outcome = Outcome("limit reached", effect, Step.NEXT_ACCOUNT, reset_at)
        self.pools[process].learn(self.member(process), outcome)

    def answer(self, process: int) -> None:
        self.pools[process].succeeded(self.member(process))

    def read(self, process: int, used: tuple[float, float], resets_in: tuple[Any, Any], age_s: float) -> None:
        """From an answer's headers, or, for the process that is none, from the usage endpoint."""
        at = self.now - age_s
        windows = tuple(
            WindowReading(name, percent, None if ends is None else at + ends, minutes)
            for (name, minutes), percent, ends in zip(WINDOWS, used, resets_in, strict=True)
        )
        if process == len(self.pools):
            sample_store(account_id=self.account_id, sample=Sample(windows, at, "usage", is_whole=True))
        else:
            self.pools[process].sampled(self.member(process), Sample(windows, at, "headers"))

    def operate(self, act: Callable[..., Account]) -> None:
        try:
            act(account_id=self.account_id)
        except services.StateConflict:
            assert self.account.status in ("reauth_required", "deactivated")

    def refuse_token(self, process: int) -> None:
        outcome = Outcome("signed out", Effect.SIGN_IN_NEEDED, Step.NEXT_ACCOUNT, reason="revoked")
        self.pools[process].learn(self.member(process), outcome)

    def renew_token(self) -> None:
        known = Credential.objects.get(pk=self.account_id)
        tokens = services.NewTokens("a", f"r{known.generation}", make_jwt({}), None, datetime.now(UTC))
        services.credential_store(
            account_id=self.account_id, expected_generation=known.generation, tokens=tokens
        )

    def sign_in(self) -> None:
        auth = parse(json.dumps(make_auth_json(user_id="ann")))
        services.account_sign_in_again(account_id=self.account_id, auth=auth, source="test")

    def wait(self, seconds: float) -> None:
        self.now += seconds


WINDOWS = (("primary", 300), ("secondary", 10_080))
processes = st.integers(0, 1)
percents = st.sampled_from([0.0, 3.0, 50.0, 99.0, 100.0, 130.0])
ends = st.none() | st.sampled_from([1.0, 60.0, HOUR, 5 * HOUR, 3 * DAY, 7 * DAY])
STEPS = st.one_of(
    st.tuples(st.just("refuse"), processes, ends | st.just(40 * DAY), st.booleans()),
    st.tuples(st.just("answer"), processes),
    st.tuples(
        st.just("read"), st.integers(0, 2), st.tuples(percents, percents), st.tuples(ends, ends),
        st.sampled_from([0.0, 5.0, 600.0]),
    ),
    st.tuples(st.just("pause")),
    st.tuples(st.just("resume")),
    st.tuples(st.just("refuse_token"), processes),
    st.tuples(st.just("renew_token")),
    st.tuples(st.just("sign_in")),
    st.tuples(st.just("wait"), st.sampled_from([1.0, 61.0, HOUR, 6 * HOUR, 8 * DAY])),
    st.tuples(st.just("look")),
)  # fmt: skip


def happen(world: World, steps: list[tuple[Any, ...]]) -> None:
    for name, *given_values in steps:
        if name in ("pause", "resume"):
            world.operate(services.account_pause if name == "pause" else services.account_resume)
        elif name == "refuse":
            process, resets_in, is_quota = given_values
            world.refuse(process, resets_in, is_quota=is_quota)
        else:
            getattr(world, name)(*given_values)
        check(world)


def check(world: World) -> None:
    """At any moment: every block has a beginning and an end that is not beyond the longest window."""
    account = world.account
    if account.is_blocked_by_limit:
        assert account.blocked_at is not None
        assert account.reset_at is not None
        assert account.reset_at.timestamp() <= account.blocked_at.timestamp() + LONGEST_WINDOW_S
    else:
        assert (account.blocked_at, account.reset_at) == (None, None)
    for process in range(2):
        known: Candidate = world.member(process).candidate
        if known.is_limited:
            assert known.blocked_at is not None
            assert known.reset_at is not None


few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@few
@given(st.lists(STEPS, max_size=14))
def test_every_process_serves_again_after_the_end_of_what_keeps_an_account_out(
    steps: list[tuple[Any, ...]],
) -> None:
    world = World()
    happen(world, steps)
    world.look()
    status = world.account.status
    assert {world.member(process).candidate.status for process in range(2)} == {status}
    if status in OUT:
        return
    if (reset_at := world.account.reset_at) is not None:
        world.now = max(world.now, reset_at.timestamp())
    for process, pool in enumerate(world.pools):
        assert isinstance(pool.choose(Ask()), Choice), "it is stuck"
        world.answer(process)
    world.look()
    assert world.account.status == "active"


@few
@given(st.lists(STEPS, max_size=8), processes, st.booleans(), st.integers(0, 2))
def test_an_early_reset_lifts_a_limit_with_the_next_reading_whatever_was_before(
    steps: list[tuple[Any, ...]], process: int, is_quota: bool, reader: int
) -> None:
    world = World()
    happen(world, steps)
    world.look()
    if world.account.status in OUT:
        return
    world.wait(8 * DAY)
    world.answer(process)
    world.read(process, (60.0, 60.0), (HOUR, 2 * DAY), 0.0)
    world.wait(5)
    world.refuse(process, 2 * DAY if is_quota else HOUR, is_quota=is_quota)
    world.look()
    assert world.account.is_blocked_by_limit
    world.wait(5)
    world.read(reader, (0.0, 0.0), (5 * HOUR, 7 * DAY), 0.0)
    world.look()
    assert world.account.status == "active"
    assert all(isinstance(pool.choose(Ask()), Choice) for pool in world.pools)


@few
@given(st.lists(STEPS.filter(lambda step: step[0] != "resume"), max_size=12))
def test_a_pause_is_ended_by_the_operator_alone(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    world.operate(services.account_pause)
    happen(world, steps)
    world.look()
    assert world.account.status in ("paused", "reauth_required")
    assert CurrentWindow.objects.count() <= len(WINDOWS)
    assert not any(isinstance(pool.choose(Ask()), Choice) for pool in world.pools)
    world.sign_in()
    world.look()
    assert world.account.status == "paused"
    world.operate(services.account_resume)
    world.look()
    assert all(isinstance(pool.choose(Ask()), Choice) for pool in world.pools)


@few
@given(st.lists(STEPS, max_size=12))
def test_a_sign_in_puts_right_whatever_has_happened(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    happen(world, steps)
    was = world.account
    world.sign_in()
    world.look()
    is_paused = was.status == "paused" or was.returns_paused
    assert world.account.status == ("paused" if is_paused else "active")
