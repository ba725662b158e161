"""Reads: the newest reading of every window, and the history of one account."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from usage.models import CurrentWindow, WindowSample


def current_windows() -> dict[str, dict[str, CurrentWindow]]:
    """account id → window → its newest reading, in one query."""
    found: dict[str, dict[str, CurrentWindow]] = defaultdict(dict)
    for row in CurrentWindow.objects.all():
        found[row.account_id][row.window] = row
    return dict(found)


def sample_history(account_id: str, since: datetime) -> list[WindowSample]:
    """The account's readings of all windows from `since` on, oldest first."""
    rows = WindowSample.objects.filter(account_id=account_id, recorded_at__gte=since)
    return list(rows.order_by("recorded_at", "pk"))
