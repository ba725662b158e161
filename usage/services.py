"""Writes: readings of accounts' windows."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import transaction

from accounts import changes
from accounts.models import Account
from accounts.services import account_unblock, account_update_plan
from usage.models import CurrentWindow, WindowSample
from usage.quota import Block, lifts_block
from usage.windows import Sample, WindowReading

# A change that routing would not notice is not worth a new snapshot in every process.
_NOTICEABLE_PERCENT = 0.5
_NOTICEABLE_RESET_S = 60.0
_SAME_WITHIN_S = 60.0


@transaction.atomic
def sample_store(*, account_id: str, sample: Sample) -> int | None:
    """Store all windows of a reading, or none; returns the new version when routing must learn of it."""
    account = Account.objects.filter(pk=account_id).first()
    if account is None:
        return None
    known = {row.window: row for row in CurrentWindow.objects.filter(account_id=account_id)}
    recorded_at = _moment(sample.recorded_at)
    newer = [
        reading
        for reading in sample.windows
        if reading.window not in known or known[reading.window].recorded_at <= recorded_at
    ]
    noticed = [reading for reading in newer if _is_noticeable(known.get(reading.window), reading)]
    _add_history(account_id, sample, newer, known)
    for reading in newer:
        CurrentWindow.objects.update_or_create(
            account_id=account_id, window=reading.window, defaults=_values(reading, recorded_at)
        )
    versions = [
        _lift_block(account, known, sample),
        account_update_plan(account_id=account_id, plan_type=sample.plan_type) if sample.plan_type else None,
        changes.bump() if noticed else None,
    ]
    return max((version for version in versions if version is not None), default=None)


def samples_trim(*, before: datetime) -> int:
    """Delete history that is older; returns how many rows."""
    return WindowSample.objects.filter(recorded_at__lt=before).delete()[0]


def _add_history(
    account_id: str, sample: Sample, readings: list[WindowReading], known: dict[str, CurrentWindow]
) -> None:
    recorded_at = _moment(sample.recorded_at)
    rows = []
    for reading in readings:
        if _was_just_stored(known.get(reading.window), reading, recorded_at):
            continue
        values = _values(reading, recorded_at)
        rows.append(
            WindowSample(account_id=account_id, window=reading.window, source=sample.source, **values)
        )
    WindowSample.objects.bulk_create(rows)


def _was_just_stored(last: CurrentWindow | None, reading: WindowReading, recorded_at: datetime) -> bool:
    if last is None or last.used_percent != reading.used_percent:
        return False
    return (recorded_at - last.recorded_at).total_seconds() < _SAME_WITHIN_S


def _lift_block(account: Account, known: dict[str, CurrentWindow], sample: Sample) -> int | None:
    if not account.is_blocked_by_limit or account.blocked_at is None:
        return None
    window_reset_at = account.block_window_reset_at
    block = Block(
        blocked_at=account.blocked_at.timestamp(),
        window_reset_at=window_reset_at.timestamp() if window_reset_at else None,
        used_percent={name: row.used_percent for name, row in known.items()},
    )
    if not lifts_block(block, sample):
        return None
    cause = "a fresh reading shows that the window has rolled"
    return account_unblock(account_id=account.pk, cause=cause, blocked_at=account.blocked_at)


def _is_noticeable(known: CurrentWindow | None, reading: WindowReading) -> bool:
    if known is None or known.window_minutes != reading.window_minutes:
        return True
    if abs(known.used_percent - reading.used_percent) >= _NOTICEABLE_PERCENT:
        return True
    before = known.reset_at.timestamp() if known.reset_at else None
    if before is None or reading.reset_at is None:
        return before != reading.reset_at
    return abs(before - reading.reset_at) >= _NOTICEABLE_RESET_S


def _values(reading: WindowReading, recorded_at: datetime) -> dict[str, object]:
    return {
        "used_percent": reading.used_percent,
        "reset_at": None if reading.reset_at is None else _moment(reading.reset_at),
        "window_minutes": reading.window_minutes,
        "recorded_at": recorded_at,
    }


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
