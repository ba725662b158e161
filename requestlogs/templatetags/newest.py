"""The newest requests, for templates of apps that may not import this one."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

# The module and not its names: the admin's theme loads all tags while that module is being read.
from codexproxy import admin_base
from requestlogs.models import RequestRecord

register = template.Library()

HOW_MANY = 10


@register.simple_tag
def newest_requests_of(account_id: str) -> list[dict[str, Any]]:
    """As ui/requests.html shows them."""
    now = timezone.now()
    rows = RequestRecord.objects.filter(account_id=account_id).order_by("-requested_at", "-pk")[:HOW_MANY]
    return [
        {
            "record": row,
            "time": admin_base.time_cell(row.requested_at, now),
            "duration": admin_base.UNKNOWN if row.latency_ms is None else f"{row.latency_ms / 1000:.2f} s",
        }
        for row in rows
    ]
