"""Connect a client: ready snippets for each one, and a tick when its first request arrives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone

from proxy.client_snippets import base_url_of, lines_for_clients
from proxy.settings_services import settings_get
from requestlogs.models import RequestRecord

# What stands where a key goes while none is needed.
ANY_KEY = "any-key"


def connect_page(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Connect a client",
        "clients": lines_for_clients(base_url_of(request), ANY_KEY),
        "since": timezone.now().timestamp(),
        "key_auth_required": settings_get().key_auth_required,
    }
    return TemplateResponse(request, "admin/connect.html", context)


def first_request(request: HttpRequest) -> HttpResponse:
    """The part of the page that waits: polled until a request has come since the page was opened."""
    try:
        since = datetime.fromtimestamp(float(request.GET.get("since", "")), UTC)
    except (ValueError, OverflowError, OSError):
        since = timezone.now()
    record = RequestRecord.objects.filter(requested_at__gte=since).order_by("-id").first()
    return render(request, "admin/connect_arrival.html", {"record": record, "since": since.timestamp()})
