"""How an account's windows went, for templates of apps that may not import this one."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone

from usage.models import WindowSample
from usage.selectors import sample_history

register = template.Library()

DAYS = 7
_WINDOWS = {"secondary": "Week", "monthly": "Month", "primary": "5 hours"}
# More are not to be seen in the width of a page; each of the others would be bytes for nothing.
_MOST_POINTS = 400


@register.simple_tag
def week_trend(account_id: str) -> list[dict[str, Any]]:
    """The lines of its windows over seven days: what was left, in percent. Without readings there is none."""
    now = timezone.now()
    since = now - timedelta(days=DAYS)
    history = sample_history(account_id, since, _MOST_POINTS)
    lines = []
    for window, words in _WINDOWS.items():
        samples = [sample for sample in history if sample.window == window]
        if len(samples) > 1:
            lines.append({"window": window, "words": words, "points": points(samples, since, now)})
    return lines


def points(samples: list[WindowSample], since: datetime, until: datetime) -> str:
    """For a polyline in a box of 100 by 100; what was left is 0 at the bottom."""
    whole = (until - since).total_seconds()
    return " ".join(
        f"{100 * (sample.recorded_at - since).total_seconds() / whole:.1f},"
        f"{min(100.0, max(0.0, sample.used_percent)):.1f}"
        for sample in samples
    )
