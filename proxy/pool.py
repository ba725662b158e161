"""The accounts as this process sees them: the snapshot, and what its own requests have learned since."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from proxy import limits
from proxy.outcomes import Effect, Outcome
from proxy.routing import Ask, Candidate, Choice, ModelLimit, Refusal, Window, choose
from proxy.snapshot import AccountView, SettingsView, Snapshot
from usage.quota import Block, lifts_block
from usage.windows import ModelLimit as LimitReading
from usage.windows import Sample, WindowReading


class Ledger(Protocol):
    """Where what was learned is written down; each call returns at once."""

    def block(self, member: Member) -> None: ...
    def unblock(self, account_id: str, cause: str, blocked_at: float | None) -> None: ...
    def sign_in_needed(self, account_id: str, reason: str, generation: int, code: str) -> None: ...
    def deactivate(self, account_id: str, reason: str, code: str) -> None: ...
    def sample(self, account_id: str, sample: Sample) -> None: ...


@dataclass(slots=True)
class Token:
    """What is put on a request."""

    access: str = field(repr=False)
    generation: int
    expires_at: float | None


@dataclass(slots=True)
class Member:
    """An account in the pool."""

    candidate: Candidate
    token: Token
    chatgpt_account_id: str | None
    # A snapshot older than this does not know our own last change yet.
    known_from_version: int = 0
    writes_pending: int = 0
    # What a snapshot, of that version, said while something of the account was on its way to the database.
    put_off: tuple[AccountView, int] | None = None

    def writing(self) -> None:
        """Until it is written, no snapshot may take back what this process knows."""
        self.writes_pending += 1

    def written(self, version: int | None) -> None:
        """`version` is what the write has made of the configuration's; None when it changed no state."""
        self.writes_pending -= 1
        self.known_from_version = max(self.known_from_version, version or 0)
        if self.put_off is not None:
            # Nobody would read it again: the snapshot has been taken.
            self.take_state(*self.put_off)

    def take_state(self, view: AccountView, version: int) -> None:
        """The account's state as a snapshot has it, now or when what is on its way has been written."""
        if self.writes_pending:
            self.put_off = (view, version)
            return
        self.put_off = None
        if version < self.known_from_version:
            return
        candidate = self.candidate
        candidate.status, candidate.reason = view.status, view.reason
        candidate.blocked_at, candidate.reset_at = view.blocked_at, view.reset_at
        candidate.block_window_reset_at = view.block_window_reset_at
        candidate.model_limits = view.model_limits


class Pool:
    """Changed only from the event loop that it belongs to."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], rng: random.Random) -> None:
        self._members: dict[str, Member] = {}
        self._ledger = ledger
        self._clock = clock
        self._rng = rng
        self.settings = SettingsView()
        self.version = 0

    # --- the control plane's word -------------------------------------------------------------

    def swap(self, snapshot: Snapshot) -> None:
        """Take over a snapshot. An older one than the present is ignored."""
        if snapshot.version < self.version:
            return
        self.version = snapshot.version
        self.settings = snapshot.settings
        members: dict[str, Member] = {}
        for view in snapshot.accounts:
            members[view.account_id] = _renewed(self._members.get(view.account_id), view, snapshot.version)
        self._members = members

    # --- the data plane's questions -----------------------------------------------------------

    def __len__(self) -> int:
        return len(self._members)

    def candidates(self) -> Iterable[Candidate]:
        return (member.candidate for member in self._members.values())

    def member(self, account_id: str) -> Member | None:
        return self._members.get(account_id)

    def choose(self, ask: Ask) -> Choice | Refusal:
        return choose(self.candidates(), ask, self._clock(), self._rng)

    # --- what requests learn ------------------------------------------------------------------

    def begin(self, member: Member) -> None:
        member.candidate.in_flight += 1
        member.candidate.last_selected_at = self._clock()

    def end(self, member: Member) -> None:
        member.candidate.in_flight -= 1

    def succeeded(self, member: Member) -> None:
        """A success is proof: it clears errors and lifts a block."""
        candidate = member.candidate
        candidate.error_count = 0
        if candidate.is_limited:
            self._lift(member, "a request succeeded")

    def learn(self, member: Member, outcome: Outcome, model: str = "") -> None:
        """`model` is the one that was asked for."""
        candidate, now = member.candidate, self._clock()
        if outcome.effect is Effect.TRANSIENT:
            candidate.error_count += 1
            candidate.last_error_at = now
        elif outcome.effect in (Effect.RATE_LIMITED, Effect.QUOTA_EXCEEDED):
            self._block(member, outcome, now)
        elif outcome.effect is Effect.MODEL_LIMITED:
            self._limit_model(member, outcome, model, now)
        elif outcome.effect is Effect.SIGN_IN_NEEDED and candidate.status != "paused":
            candidate.status, candidate.reason = "reauth_required", outcome.reason
            generation = member.token.generation
            self._ledger.sign_in_needed(candidate.account_id, outcome.reason, generation, outcome.code)
        elif outcome.effect is Effect.DEACTIVATED and candidate.status != "paused":
            candidate.status, candidate.reason = "deactivated", outcome.reason
            self._ledger.deactivate(candidate.account_id, outcome.reason, outcome.code)

    def sampled(self, member: Member, sample: Sample) -> None:
        """A reading of the account's windows, from headers or an event."""
        candidate = member.candidate
        block = block_of(candidate)
        if block is not None and lifts_block(block, sample):
            self._lift(member, f"a fresh reading shows that the window has rolled: {sample.words}")
        for reading in sample.windows:
            window = _window(reading, sample.recorded_at)
            if reading.window == "primary":
                candidate.primary = window
            else:
                # The month takes the week's place where a plan has only that.
                candidate.secondary = window
        for limit in sample.model_limits:
            self._take_model_limit(candidate, limit, sample.recorded_at)
        self._ledger.sample(candidate.account_id, sample)

    def token_refreshed(self, account_id: str, token: Token) -> None:
        member = self._members.get(account_id)
        if member is not None and token.generation > member.token.generation:
            member.token = token

    def _block(self, member: Member, outcome: Outcome, now: float) -> None:
        candidate = member.candidate
        if candidate.status not in ("active", "rate_limited", "quota_exceeded"):
            return
        reset_at = outcome.reset_at or _known_reset(candidate, now) or now + limits.LIMIT_WITHOUT_RESET_S
        candidate.status = outcome.effect.value
        candidate.reason = outcome.reason
        candidate.blocked_at = now
        candidate.reset_at = min(reset_at, now + _longest_window_s(candidate))
        candidate.block_window_reset_at = _known_reset(candidate, now)
        self._ledger.block(member)

    def _limit_model(self, member: Member, outcome: Outcome, model: str, now: float) -> None:
        """A refusal for one model: the same as a reading that shows its limit full."""
        known = member.candidate.model_limits.get(outcome.limit_id)
        if known is not None and known.used_up_until(now) is not None:
            # The refusal's own headers have said so.
            return
        reset_at = outcome.reset_at or now + limits.LIMIT_WITHOUT_RESET_S
        name = "" if known is not None else model
        full = LimitReading(outcome.limit_id, name, (WindowReading("primary", 100.0, reset_at, None),))
        self.sampled(member, Sample((), now, "refusal", model_limits=(full,)))

    @staticmethod
    def _take_model_limit(candidate: Candidate, limit: LimitReading, at: float) -> None:
        known = candidate.model_limits.get(limit.limit_id)
        windows = {reading.window: _window(reading, at) for reading in limit.windows}
        name = limit.name or (known.name if known else limit.limit_id)
        taken = ModelLimit(name, {**(known.windows if known else {}), **windows})
        candidate.model_limits = {**candidate.model_limits, limit.limit_id: taken}

    def _lift(self, member: Member, cause: str) -> None:
        candidate = member.candidate
        blocked_at = candidate.blocked_at
        candidate.status, candidate.reason = "active", ""
        candidate.blocked_at = candidate.reset_at = candidate.block_window_reset_at = None
        self._ledger.unblock(candidate.account_id, cause, blocked_at)


def _window(reading: WindowReading, at: float) -> Window:
    return Window(reading.used_percent, reading.reset_at, reading.window_minutes, at)


def block_of(candidate: Candidate) -> Block | None:
    if not candidate.is_limited or candidate.blocked_at is None:
        return None
    percents = {
        name: window.used_percent
        for name, window in (("primary", candidate.primary), ("secondary", candidate.secondary))
        # A window that had ended before the block says nothing about it.
        if window is not None and window.known_percent(candidate.blocked_at) is not None
    }
    return Block(
        blocked_at=candidate.blocked_at,
        window_reset_at=candidate.block_window_reset_at,
        used_percent=percents,
        reset_at=candidate.reset_at,
    )


def _known_reset(candidate: Candidate, now: float) -> float | None:
    reset_at = candidate.primary.reset_at if candidate.primary else None
    return reset_at if reset_at is not None and reset_at > now else None


def _longest_window_s(candidate: Candidate) -> float:
    minutes = [
        window.window_minutes
        for window in (candidate.primary, candidate.secondary)
        if window is not None and window.window_minutes
    ]
    return max([limits.DEFAULT_LONGEST_WINDOW_S, *(60.0 * value for value in minutes)])


def _renewed(member: Member | None, view: AccountView, version: int) -> Member:
    """The member as the snapshot has it, keeping what only this process knows."""
    candidate = member.candidate if member else Candidate(view.account_id, view.label)
    token = Token(view.access_token, view.generation, view.access_expires_at)
    if member is None:
        member = Member(candidate, token, view.chatgpt_account_id)
    elif view.generation != member.token.generation and view.generation > member.token.generation:
        member.token = token
    member.chatgpt_account_id = view.chatgpt_account_id
    candidate.label, candidate.plan_type = view.label, view.plan_type
    candidate.weekly_credits = view.weekly_credits
    candidate.policy, candidate.stop_at_percent = view.policy, view.stop_at_percent
    member.take_state(view, version)
    candidate.primary = _newer(candidate.primary, view.windows.get("primary"))
    candidate.secondary = _newer(
        candidate.secondary, view.windows.get("secondary") or view.windows.get("monthly")
    )
    return member


def candidates_of(snapshot: Snapshot) -> list[Candidate]:
    """The accounts as a process sees them that has served nothing yet."""
    return [_renewed(None, view, snapshot.version).candidate for view in snapshot.accounts]


def _newer(known: Window | None, stored: Window | None) -> Window | None:
    if known is None or stored is None:
        return stored or known
    return stored if stored.recorded_at >= known.recorded_at else known
