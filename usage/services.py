"""Writes: readings of accounts' windows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import transaction

from accounts import changes
from accounts.models import Account
from accounts.services import account_unblock, account_update_plan
from usage.models import CurrentWindow, WindowSample
from usage.quota import Block, lifts_block
from usage.windows import Sample, WindowReading

# A change that routing would not notice is not worth a new snapshot in every process.
_STEPS_PER_PERCENT = 2
_NOTICEABLE_RESET_S = 60.0
_SAME_WITHIN = timedelta(seconds=60)


@transaction.atomic
def sample_store(*, account_id: str, sample: Sample) -> int | None:
    """Store all windows of a reading, or none; returns the new version when routing must learn of it."""
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        return None
    known = {row.window: row for row in CurrentWindow.objects.filter(account_id=account_id)}
    recorded_at = _moment(sample.recorded_at)
    newer = tuple(
        reading
        for reading in sample.windows
        if reading.window not in known or known[reading.window].recorded_at <= recorded_at
    )
    noticed = [reading for reading in newer if _is_noticeable(known.get(reading.window), reading)]
    _add_history(account_id, replace(sample, windows=newer))
    for reading in newer:
        _set_current(account_id, reading, recorded_at)
    versions = [
        # What is older than the known reading shows less use without any window having rolled.
        _lift_block(account, known.values(), replace(sample, windows=newer)),
        account_update_plan(account_id=account_id, plan_type=sample.plan_type) if sample.plan_type else None,
        changes.bump() if noticed else None,
    ]
    return max((version for version in versions if version is not None), default=None)


def samples_trim(*, before: datetime) -> int:
    """Delete history that is older; returns how many rows."""
    return WindowSample.objects.filter(recorded_at__lt=before).delete()[0]


def _set_current(account_id: str, reading: WindowReading, recorded_at: datetime) -> None:
    values = _values(reading, recorded_at)
    rows = CurrentWindow.objects.filter(account_id=account_id, window=reading.window)
    # The condition: another process may have stored a newer one since ours was compared.
    if rows.filter(recorded_at__lte=recorded_at).update(**values):
        return
    # RACE: two processes may store the first one together. get_or_create inserts in a savepoint of its own.
    _, created = CurrentWindow.objects.get_or_create(
        account_id=account_id, window=reading.window, defaults=values
    )
    if not created:
        rows.filter(recorded_at__lt=recorded_at).update(**values)


def _add_history(account_id: str, sample: Sample) -> None:
    recorded_at = _moment(sample.recorded_at)
    rows = WindowSample.objects.filter(account_id=account_id, recorded_at__gt=recorded_at - _SAME_WITHIN)
    latest = {row.window: row for row in rows.order_by("recorded_at", "pk")}
    WindowSample.objects.bulk_create(
        WindowSample(
            account_id=account_id,
            window=reading.window,
            source=sample.source,
            **_values(reading, recorded_at),
        )
        for reading in sample.windows
        if not _is_same(latest.get(reading.window), reading)
    )


def _is_same(last: WindowSample | None, reading: WindowReading) -> bool:
    return (
        last is not None
        and last.used_percent == reading.used_percent
        and last.window_minutes == reading.window_minutes
        and _is_same_reset(last.reset_at, reading.reset_at)
    )


def _lift_block(account: Account, known: Iterable[CurrentWindow], sample: Sample) -> int | None:
    blocked_at = account.blocked_at
    if not account.is_blocked_by_limit or blocked_at is None:
        return None
    block = Block(
        blocked_at=blocked_at.timestamp(),
        window_reset_at=_seconds(account.block_window_reset_at),
        # A window that had ended before the block says nothing about the one that was blocked.
        used_percent={
            row.window: row.used_percent for row in known if row.reset_at is None or row.reset_at > blocked_at
        },
        reset_at=_seconds(account.reset_at),
    )
    if not lifts_block(block, sample):
        return None
    cause = "a fresh reading shows that the window has rolled"
    return account_unblock(account_id=account.pk, cause=cause, blocked_at=blocked_at)


def _is_noticeable(known: CurrentWindow | None, reading: WindowReading) -> bool:
    """Steps, not distances: a slow drift must be noticed too, though each reading is near the last."""
    return (
        known is None
        or known.window_minutes != reading.window_minutes
        or _step(known.used_percent) != _step(reading.used_percent)
        or not _is_same_reset(known.reset_at, reading.reset_at)
    )


def _step(used_percent: float) -> int:
    return math.floor(used_percent * _STEPS_PER_PERCENT)


def _is_same_reset(known: datetime | None, reset_at: float | None) -> bool:
    if known is None or reset_at is None:
        return known is None and reset_at is None
    return abs(known.timestamp() - reset_at) < _NOTICEABLE_RESET_S


def _values(reading: WindowReading, recorded_at: datetime) -> Mapping[str, object]:
    return {
        "used_percent": reading.used_percent,
        "reset_at": None if reading.reset_at is None else _moment(reading.reset_at),
        "window_minutes": reading.window_minutes,
        "recorded_at": recorded_at,
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
