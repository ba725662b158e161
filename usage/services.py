"""Writes: readings of accounts' windows, and what they mean for an account's state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from accounts import changes
from accounts.models import Account
from accounts.services import account_block, account_unblock, account_update_plan
from usage.models import AccountCredits, CurrentWindow, ModelLimitWindow, Source, WindowSample
from usage.quota import RESET_TOLERANCE_S, Block, Known, Standing, lifts_block, status_after
from usage.windows import Sample, WindowReading

# A change that routing would not notice is not worth a new snapshot in every process.
_STEPS_PER_PERCENT = 2
_NOTICEABLE_RESET_S = 60.0
# No reading is stored so long after it was made.
_LATE_AT_MOST = timedelta(minutes=5)
_SAME_WITHIN = timedelta(seconds=60)
_TOLD_AT: dict[str, str] = {Source.USAGE: "usage_at", Source.HEADERS: "headers_at", Source.EVENT: "event_at"}


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
        if reading.window not in known or not _is_overtaken(known[reading.window].recorded_at, recorded_at)
    )
    newest = replace(sample, windows=newer)
    noticed = [_is_noticeable(known.get(reading.window), reading) for reading in newer]
    _add_history(account_id, newest)
    rows = CurrentWindow.objects.filter(account_id=account_id)
    for reading in newer:
        values = _values(reading, recorded_at) | {"source": sample.source}
        if sample.source in _TOLD_AT:
            values[_TOLD_AT[sample.source]] = recorded_at
        _set_newest(rows.filter(window=reading.window), values, account_id=account_id, window=reading.window)
    noticed.append(_store_model_limits(account_id, sample))
    noticed.append(_forget_untold(account_id, sample))
    _store_credits(account_id, sample)
    versions = [
        # What is older than the known reading shows less use without any window having rolled.
        _lift_block(account, known.values(), newest),
        account_update_plan(account_id=account_id, plan_type=sample.plan_type) if sample.plan_type else None,
        _follow(account_id, newest),
        changes.bump() if any(noticed) else None,
    ]
    return max((version for version in versions if version is not None), default=None)


def samples_trim(*, before: datetime) -> int:
    """Delete history that is older; returns how many rows."""
    return WindowSample.objects.filter(recorded_at__lt=before).delete()[0]


def _is_overtaken(known_at: datetime, recorded_at: datetime) -> bool:
    """Whether a reading is older than the known one, which is not of a time before the clock was set back."""
    return recorded_at < known_at <= recorded_at + _LATE_AT_MOST


def _set_newest(rows: QuerySet[Any], values: dict[str, Any], **identity: str) -> None:
    """The one row of `identity`, which are `rows`, unless it is newer."""
    recorded_at = values["recorded_at"]
    of_the_future = Q(recorded_at__gt=recorded_at + _LATE_AT_MOST)
    # The condition: another process may have stored a newer one since ours was compared.
    if rows.filter(Q(recorded_at__lte=recorded_at) | of_the_future).update(**values):
        return
    # RACE: two processes may store the first one together. get_or_create inserts in a savepoint of its own.
    _, created = rows.model._default_manager.get_or_create(**identity, defaults=values)
    if not created:
        rows.filter(recorded_at__lt=recorded_at).update(**values)


def _store_model_limits(account_id: str, sample: Sample) -> bool:
    """Whether routing must learn of it."""
    if not sample.model_limits:
        return False
    known = {
        (row.limit_id, row.window): row for row in ModelLimitWindow.objects.filter(account_id=account_id)
    }
    noticed = False
    for limit in sample.model_limits:
        for reading in limit.windows:
            row = known.get((limit.limit_id, reading.window))
            named = bool(limit.name) and (row is None or row.name != limit.name)
            noticed = noticed or named or _is_noticeable(row, reading)
            values = _values(reading, _moment(sample.recorded_at)) | {"source": sample.source}
            if limit.name:
                values["name"] = limit.name
            identity = {"account_id": account_id, "limit_id": limit.limit_id, "window": reading.window}
            _set_newest(ModelLimitWindow.objects.filter(**identity), values, **identity)
    return noticed


def _forget_untold(account_id: str, sample: Sample) -> bool:
    """Windows and limits that a whole reading does not have are gone: the plan has changed."""
    if not sample.is_whole:
        return False
    known_before = {"account_id": account_id, "recorded_at__lt": _moment(sample.recorded_at)}
    windows = CurrentWindow.objects.filter(**known_before)
    windows = windows.exclude(window__in=[reading.window for reading in sample.windows])
    limits = ModelLimitWindow.objects.filter(**known_before)
    for limit in sample.model_limits:
        told = [reading.window for reading in limit.windows]
        limits = limits.exclude(limit_id=limit.limit_id, window__in=told)
    return bool(windows.delete()[0] + limits.delete()[0])


def _store_credits(account_id: str, sample: Sample) -> None:
    """A whole reading that tells of none is proof that there are none."""
    held, recorded_at = sample.credits, _moment(sample.recorded_at)
    rows = AccountCredits.objects.filter(pk=account_id)
    if held is not None:
        values = {
            "has_credits": held.has_credits,
            "unlimited": held.unlimited,
            "balance": held.balance,
            "recorded_at": recorded_at,
        }
        _set_newest(rows, values, account_id=account_id)
    elif sample.is_whole:
        rows.filter(recorded_at__lt=recorded_at).delete()


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
    cause = f"a fresh reading shows that the window has rolled: {sample.words}"
    return account_unblock(account_id=account.pk, cause=cause, blocked_at=blocked_at)


def _follow(account_id: str, sample: Sample) -> int | None:
    """The account's state after a whole reading: a full window begins a limit, and a limit's time ends."""
    if not sample.is_whole:
        return None
    account = Account.objects.get(pk=account_id)
    windows = {reading.window: reading for reading in sample.windows}
    primary, now = windows.get("primary"), sample.recorded_at
    standing = status_after(
        status=account.status,
        primary=_known(primary, now),
        secondary=_known(windows.get("secondary") or windows.get("monthly"), now),
        runtime_reset_at=_seconds(account.reset_at),
        now=now,
    )
    if account.is_blocked_by_limit and standing.status == Account.Status.ACTIVE:
        if account.reset_at is None:
            # Nobody said until when: a request finds out.
            return None
        cause = "the limit's time is over"
        return account_unblock(account_id=account_id, cause=cause, blocked_at=account.blocked_at)
    if standing.status == account.status and not _ends_later(standing, account):
        return None
    # Upstream may allow more than the windows hold: credits.
    return None if sample.is_allowed else _blocked(account, standing, primary, now)


def _ends_later(standing: Standing, account: Account) -> bool:
    """Whether a limit's end is known only now, or lies behind a window that is full."""
    if not account.is_blocked_by_limit or standing.reset_at is None:
        return False
    if account.reset_at is None:
        return True
    return (
        standing.used_percent == 100 and standing.reset_at > account.reset_at.timestamp() + RESET_TOLERANCE_S
    )


def _blocked(account: Account, standing: Standing, primary: WindowReading | None, now: float) -> int | None:
    primary_ends_at = primary.reset_at if primary is not None else None
    which = "longer" if standing.status == Account.Status.QUOTA_EXCEEDED else "5-hour"
    return account_block(
        account_id=account.pk,
        status=standing.status,
        reason=account.status_reason or f"the {which} window is used up",
        blocked_at=account.blocked_at or _moment(now),
        reset_at=None if standing.reset_at is None else _moment(standing.reset_at),
        window_reset_at=None if primary_ends_at is None else _moment(primary_ends_at),
    )


def _known(reading: WindowReading | None, now: float) -> Known:
    if reading is None or (reading.reset_at is not None and reading.reset_at <= now):
        return Known()
    return Known(reading.used_percent, reading.reset_at, reading.window_minutes)


def _is_noticeable(known: CurrentWindow | ModelLimitWindow | None, reading: WindowReading) -> bool:
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


def _values(reading: WindowReading, recorded_at: datetime) -> dict[str, Any]:
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
