"""Reads: the newest reading of every window."""

from __future__ import annotations

from collections import defaultdict

from usage.models import CurrentWindow


def current_windows() -> dict[str, dict[str, CurrentWindow]]:
    """account id → window → its newest reading, in one query."""
    found: dict[str, dict[str, CurrentWindow]] = defaultdict(dict)
    for row in CurrentWindow.objects.all():
        found[row.account_id][row.window] = row
    return dict(found)
