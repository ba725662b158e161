"""Pure: no I/O. What has happened since the last look that the operator wants to be told.

`detect` compares what was known at the last look (the memory, plain JSON) with what is known now. Each
event comes once: whoever stores the new memory in place of the old one may tell its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

# A limit that ends sooner is not worth a word, neither when it begins nor when it ends.
LONG_LIMIT = timedelta(minutes=15)
# A pool that serves again so soon is not told of as exhausted.
BRIEF = timedelta(minutes=2)
# A pool is low until so much more is left than when it was told of: it must not be told of at every step.
RECOVERY_PERCENT = 5.0
# Readings of different sources differ a little; a week that begins anew loses more.
RESET_FALL_PERCENT = 5.0
ADDRESS_REMEMBERED = timedelta(days=365)
ADDRESSES = 1_000

_LOST = {
    "reauth_required": "needs a new sign-in",
    "deactivated": "was closed by upstream; a new sign-in shows whether it can come back",
}
_LIMITED = frozenset({"rate_limited", "quota_exceeded"})
_USABLE = _LIMITED | {"active"}
_WINDOWS = {"primary": "5-hour window", "secondary": "weekly window"}

Memory = Mapping[str, Any]


class Kind(StrEnum):
    SIGN_IN_NEEDED = "account_needs_sign_in"
    POOL_LOW = "pool_low"
    POOL_EXHAUSTED = "pool_exhausted"
    RESET = "reset_happened"
    NEW_ADDRESS = "sign_in_from_new_address"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class AccountState:
    """`free_at`: when its limit ends. `week_used_percent` is None while nothing current is known."""

    id: str
    name: str
    status: str
    reason: str = ""
    blocked_at: datetime | None = None
    free_at: datetime | None = None
    week_used_percent: float | None = None

    def can_serve(self, now: datetime) -> bool:
        if self.status == "active":
            return True
        return self.status in _LIMITED and self.free_at is not None and self.free_at <= now

    @property
    def is_long_limited(self) -> bool:
        if self.status not in _LIMITED:
            return False
        if self.blocked_at is None or self.free_at is None:
            return True
        return self.free_at - self.blocked_at >= LONG_LIMIT


@dataclass(frozen=True, slots=True)
class PoolState:
    """One window of the pool. `remaining_percent` is None while nothing current is known."""

    window: str
    remaining_percent: float | None
    dry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignIn:
    """A sign-in to the dashboard. `network` is what counts as one address."""

    network: str
    address: str
    actor: str
    proof: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Situation:
    now: datetime
    accounts: tuple[AccountState, ...] = ()
    pools: tuple[PoolState, ...] = ()
    sign_ins: tuple[SignIn, ...] = ()
    low_percent: float = 20.0


@dataclass(frozen=True, slots=True)
class Event:
    kind: Kind
    title: str
    text: str
    account_id: str = ""
    account_name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def detect(memory: Memory, seen: Situation) -> tuple[dict[str, Any], list[Event]]:
    """The new memory, and what there is to tell. An empty memory is a first look."""
    addresses, sign_ins = _new_addresses(memory.get("addresses"), seen)
    lost, sign_ins_needed = _lost(memory.get("lost", []), seen)
    low, lows = _low(memory.get("low", []), seen)
    exhausted, exhausteds = _exhausted(bool(memory.get("exhausted")), seen)
    limited = sorted(account.id for account in seen.accounts if account.is_long_limited)
    week = _weeks(memory.get("week", {}), seen)
    after = {
        "addresses": addresses,
        "lost": lost,
        "low": low,
        "exhausted": exhausted,
        "limited": limited,
        "week": week,
    }
    return after, [*sign_ins_needed, *exhausteds, *lows, *_resets(memory, seen), *sign_ins]


def _lost(told: Iterable[str], seen: Situation) -> tuple[list[str], list[Event]]:
    lost = [account for account in seen.accounts if account.status in _LOST]
    before = set(told)
    events = [
        Event(
            Kind.SIGN_IN_NEEDED,
            f"{account.name} needs a new sign-in",
            f"{account.name} {_LOST[account.status]}."
            + (f" The reason: {account.reason}" if account.reason else ""),
            account.id,
            account.name,
            {"status": account.status},
        )
        for account in lost
        if account.id not in before
    ]
    return sorted(account.id for account in lost), events


def _low(told: Iterable[str], seen: Situation) -> tuple[list[str], list[Event]]:
    low, events = set(told), []
    for pool in seen.pools:
        left = pool.remaining_percent
        if left is None:
            # Nothing current is known: neither the beginning of it nor its end.
            continue
        if left < seen.low_percent and pool.window not in low:
            low.add(pool.window)
            events.append(_low_event(pool, left, seen))
        elif left >= seen.low_percent + RECOVERY_PERCENT:
            low.discard(pool.window)
    return sorted(low), events


def _low_event(pool: PoolState, left: float, seen: Situation) -> Event:
    name = _WINDOWS.get(pool.window, pool.window)
    text = f"{_percent(left)} of the pool's {name} is left."
    data: dict[str, Any] = {"window": pool.window, "remainingPercent": round(left, 1)}
    if pool.dry_at is not None:
        text += f" At the present rate it is used up at {_clock(pool.dry_at)}."
        data["usedUpAt"] = _iso(pool.dry_at)
    return Event(Kind.POOL_LOW, f"The pool is low: {_percent(left)} of the {name} left", text, data=data)


def _exhausted(was: bool, seen: Situation) -> tuple[bool, list[Event]]:
    wanted = [account for account in seen.accounts if account.status != "paused"]
    if not wanted or any(account.can_serve(seen.now) for account in wanted):
        return False, []
    if was:
        return True, []
    ends = [account.free_at for account in wanted if account.status in _LIMITED and account.free_at]
    returns_at = min(ends, default=None)
    if returns_at is not None and returns_at - seen.now <= BRIEF:
        return False, []
    if returns_at is not None:
        text = f"No account can serve before {_clock(returns_at)}: limits."
    elif any(account.status in _LIMITED for account in wanted):
        text = "No account can serve: all are at a limit, and upstream did not say until when."
    else:
        text = "No account can serve: each needs a new sign-in, is closed or is paused."
    data = {"accounts": len(seen.accounts), "servesAgainAt": returns_at and _iso(returns_at)}
    return True, [Event(Kind.POOL_EXHAUSTED, "No account can serve", text, data=data)]


def _weeks(before: Mapping[str, float], seen: Situation) -> dict[str, float]:
    """What is unknown now stays as it was known: the next reading is compared with it."""
    known = {
        account.id: before.get(account.id) if account.week_used_percent is None else account.week_used_percent
        for account in seen.accounts
    }
    return {account_id: used for account_id, used in known.items() if used is not None}


def _resets(memory: Memory, seen: Situation) -> list[Event]:
    limited = set(memory.get("limited", []))
    weeks: Mapping[str, float] = memory.get("week", {})
    events = []
    for account in seen.accounts:
        if account.status not in _USABLE:
            continue
        used, before = account.week_used_percent, weeks.get(account.id)
        has_week = used is not None and before is not None and used <= before - RESET_FALL_PERCENT
        serves_again = account.id in limited and account.status == "active"
        said = []
        if serves_again:
            said.append(f"{account.name} serves again: its limit is over.")
        if has_week:
            said.append(
                f"The weekly window of {account.name} has begun anew: {_percent(before or 0)} was used, "
                f"{_percent(used or 0)} is now."
            )
        if said:
            data = {"servesAgain": serves_again, "weekBeganAnew": has_week}
            title = (
                f"{account.name} serves again" if serves_again else f"The week of {account.name} was reset"
            )
            events.append(Event(Kind.RESET, title, " ".join(said), account.id, account.name, data))
    return events


def _new_addresses(known: Mapping[str, str] | None, seen: Situation) -> tuple[dict[str, str], list[Event]]:
    """A first look learns the addresses of all sign-ins on record, and tells of none."""
    last_seen, events = dict(known or {}), []
    for sign_in in sorted(seen.sign_ins, key=lambda found: found.at):
        if known is not None and sign_in.network not in last_seen:
            where = sign_in.address or "an unknown address"
            events.append(
                Event(
                    Kind.NEW_ADDRESS,
                    f"A sign-in to the dashboard from {where}",
                    f"{sign_in.actor} signed in to the dashboard at {_clock(sign_in.at)} from {where} "
                    f"({sign_in.proof}), for the first time from there. If that was not you, end the session "
                    "and change the password under Security.",
                    data={"address": sign_in.address, "user": sign_in.actor, "proof": sign_in.proof},
                )
            )
        last_seen[sign_in.network] = max(_iso(sign_in.at), last_seen.get(sign_in.network, ""))
    since = _iso(seen.now - ADDRESS_REMEMBERED)
    newest = sorted(last_seen.items(), key=lambda item: item[1])[-ADDRESSES:]
    return {network: at for network, at in newest if at >= since}, events


def _percent(value: float) -> str:
    return f"{value:.0f} %"


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
