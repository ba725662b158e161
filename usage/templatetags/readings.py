"""What is known of an account's limits, for templates of apps that may not import this one."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from accounts.models import Account

# The module and not its names: the admin's theme loads all tags while that module is being read.
from codexproxy import admin_base
from usage.capacity import capacity_credits
from usage.models import AccountCredits, CurrentWindow, WindowKey

register = template.Library()


@register.simple_tag
def readings_of(account: Account) -> list[dict[str, Any]]:
    """Each window, its credits, and when each source told it last."""
    now = timezone.now()
    rows = {row.window: row for row in account.windows.all()}
    return [
        {
            "label": admin_base.window_label(row.window, row.window_minutes),
            "credits": _credits(account, row),
            "told": [
                {"source": source, "at": admin_base.time_cell(at, now) if at else "never"}
                for source, at in row.told_at.items()
            ],
        }
        for name in WindowKey.values
        if (row := rows.get(name)) is not None
    ]


@register.simple_tag
def model_limits_of(account: Account) -> list[dict[str, Any]]:
    """Its limits for single models: each one's name and windows."""
    now = timezone.now()
    found: dict[str, dict[str, Any]] = {}
    for row in account.model_limits.order_by("limit_id", "window"):
        limit = found.setdefault(row.limit_id, {"name": row.name or row.limit_id, "views": []})
        label = admin_base.window_label(row.window, row.window_minutes)
        limit["views"].append(admin_base.window_view(label, row, now))
    return list(found.values())


@register.simple_tag
def credits_of(account: Account) -> dict[str, Any] | None:
    """What it has beside its windows, and when that was told; None where it has nothing."""
    held = AccountCredits.objects.filter(pk=account.pk).first()
    if held is None or not (held.has_credits or held.unlimited):
        return None
    return {"held": held, "at": admin_base.time_cell(held.recorded_at, timezone.now())}


def _credits(account: Account, row: CurrentWindow) -> str:
    """Empty where the plan's capacity is not known, or where the reading is of a window that is over."""
    capacity = capacity_credits(account.plan_type, row.window)
    if not capacity or (row.reset_at is not None and row.reset_at <= timezone.now()):
        return ""
    used = capacity * min(max(row.used_percent, 0.0), 100.0) / 100
    return f"{capacity - used:,.0f} of {capacity:,.0f} credits left"
