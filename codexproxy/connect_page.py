"""Connect a client: ready snippets for each one, and a tick when its first request arrives."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils import timezone

from proxy.settings_services import settings_get
from requestlogs.models import RequestRecord

# What stands where a key goes while none is needed.
ANY_KEY = "any-key"


@dataclass(frozen=True, slots=True)
class Client:
    """One tab. `where` says what to do with the snippet."""

    slug: str
    title: str
    template: str
    where: str


CLIENTS = (
    Client(
        "codex",
        "Codex CLI",
        "snippets/codex.toml",
        "Put this at the top of ~/.codex/config.toml, and set the variable CODEXPROXY_KEY.",
    ),
    Client(
        "codex-app",
        "Codex app and IDE extension",
        "snippets/codex_app.toml",
        "They read ~/.codex/config.toml too, but no variable of a terminal, so the key stands in the file. "
        "Sign in with any ChatGPT account; its token goes no further than this server.",
    ),
    Client(
        "opencode",
        "OpenCode",
        "snippets/opencode.json",
        "Put this into opencode.json in your project, or into ~/.config/opencode/opencode.json.",
    ),
    Client("python", "OpenAI SDK for Python", "snippets/openai_sdk.py", "pip install openai, then:"),
    Client("curl", "curl", "snippets/curl.sh", "In a terminal:"),
    Client(
        "other",
        "Anything else",
        "snippets/other.sh",
        "Programs on an OpenAI SDK read these variables; others ask for a base URL and a key.",
    ),
)


def base_url_of(request: HttpRequest) -> str:
    """Under which clients reach this server: as the settings say, else as this page was asked for."""
    return settings_get().public_base_url.rstrip("/") or f"{request.scheme}://{request.get_host()}"


def connect_page(request: HttpRequest) -> HttpResponse:
    values = {"base_url": base_url_of(request), "key": ANY_KEY}
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Connect a client",
        "clients": [
            {"client": client, "snippet": render_to_string(client.template, values)} for client in CLIENTS
        ],
        "base_url": values["base_url"],
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
