"""Looks for what the operator wants to be told, and sends it: the two background jobs of the notices."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.models import Account
from accounts.notices.delivery import deliver_due
from accounts.notices.events import AccountState, Memory, PoolState, Situation, detect
from accounts.notices.models import NoticeSettings
from accounts.notices.selectors import memory_get, notice_settings_get, sign_ins
from accounts.notices.services import events_tell, memory_forget
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient
from proxy import limits
from proxy.settings_services import settings_get
from requestlogs.figures import pool_window, window_state
from usage.pace import Forecast
from usage.selectors import forecasts

_POOLS = ("primary", "secondary")
_UNUSED = frozenset({Account.Status.PAUSED, Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED})


def look(*, now: datetime) -> int:
    """Compare with the last look; returns how many notices are on their way now."""
    row = notice_settings_get()
    if not row.channels:
        memory_forget()
        return 0
    memory = memory_get()
    state, events = detect(memory.state, situation(row, memory.state, now))
    return events_tell(memory=memory, state=state, events=events, now=now)


async def deliver(client: HttpClient, thread: DatabaseThread) -> int:
    base_url = await thread.run(lambda: settings_get().public_base_url.rstrip("/"))
    return await deliver_due(client, thread, base_url=base_url)


def situation(row: NoticeSettings, memory: Memory, now: datetime) -> Situation:
    accounts = list(Account.objects.prefetch_related("windows").order_by("email", "pk"))
    # Who has signed in before is looked up once.
    since = now if memory.get("addresses") is not None else None
    return Situation(
        now=now,
        accounts=tuple(_state(account, now) for account in accounts),
        pools=_pools(accounts, row.pool_low_percent, now),
        sign_ins=sign_ins(since=since),
        low_percent=row.pool_low_percent,
    )


def _state(account: Account, now: datetime) -> AccountState:
    rows = {row.window: row for row in account.windows.all()}
    return AccountState(
        id=account.pk,
        name=account.display_name,
        status=account.status,
        reason=account.status_reason,
        blocked_at=account.blocked_at,
        free_at=_free_at(account),
        week_used_percent=window_state(account, rows, "secondary", now).used_percent,
    )


def _free_at(account: Account) -> datetime | None:
    """When the next request may try it again, which for a limit without an end the pool decides."""
    if not account.is_blocked_by_limit or account.reset_at is not None or account.blocked_at is None:
        return account.reset_at
    is_quota = account.status == Account.Status.QUOTA_EXCEEDED
    wait_s = limits.QUOTA_WITHOUT_RESET_S if is_quota else limits.LIMIT_WITHOUT_RESET_S
    return account.blocked_at + timedelta(seconds=wait_s)


def _pools(accounts: list[Account], low_percent: float, now: datetime) -> tuple[PoolState, ...]:
    """Of the accounts in use. When it runs dry is asked only where that is worth telling."""
    used = [account for account in accounts if account.status not in _UNUSED]
    left = {name: _remaining_percent(used, name, now) for name in _POOLS}
    is_low = any(percent is not None and percent < low_percent for percent in left.values())
    expected = forecasts(used, now) if is_low else {}
    return tuple(
        PoolState(name, percent, _dry_at(expected.get(name, Forecast()))) for name, percent in left.items()
    )


def _remaining_percent(accounts: list[Account], name: str, now: datetime) -> float | None:
    states = [
        (account, window_state(account, {row.window: row for row in account.windows.all()}, name, now))
        for account in accounts
    ]
    capacity = pool_window(states, name).capacity
    return capacity.remaining_percent if capacity.capacity_credits else None


def _dry_at(expected: Forecast) -> datetime | None:
    return None if expected.dry_at is None else datetime.fromtimestamp(expected.dry_at, UTC)
