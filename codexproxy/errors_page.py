"""Errors by cause: why requests failed, how often, and what to do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from codexproxy.admin_base import time_cell
from requestlogs.causes import hint_for
from requestlogs.explorer_filters import NO_CODE
from requestlogs.selectors import causes

RANGES = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(days=1)),
    "7d": ("the last 7 days", timedelta(days=7)),
    "30d": ("the last 30 days", timedelta(days=30)),
}
_DEFAULT = "24h"


def errors_page(request: HttpRequest) -> HttpResponse:
    chosen = request.GET.get("range", _DEFAULT)
    chosen = chosen if chosen in RANGES else _DEFAULT
    words, length = RANGES[chosen]
    now = timezone.now()
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Errors by cause",
        "ranges": [
            {"name": name, "words": span.removeprefix("the "), "is_chosen": name == chosen}
            for name, (span, _) in RANGES.items()
        ],
        "words": words,
        "rows": [
            {
                "cause": cause,
                "hint": hint_for(cause.code),
                "first": time_cell(cause.first_at, now),
                "last": time_cell(cause.last_at, now),
                "url": _requests_url(cause.code, chosen),
            }
            for cause in causes(now - length)
        ],
    }
    return TemplateResponse(request, "admin/errors.html", context)


def _requests_url(code: str, period: str) -> str:
    """The explorer with the requests of this cause."""
    found = {"outcome": "failed", "code": code or NO_CODE, "period": period}
    return f"{reverse('admin:requestlogs_requestrecord_changelist')}?{urlencode(found)}"
