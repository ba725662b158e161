"""A browser at the dashboard, from this machine or another, and the locks that it finds."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.test import Client

from accounts.operators import services
from proxy.models import Settings
from tests.accounts.operators.totp import PASSWORD, enrol

AUTH = "/api/dashboard-auth/"
FAR_HOST = "192.168.1.5:2455"


def browser(peer: str = "127.0.0.1", host: str = "localhost:2455", **headers: str) -> Client:
    environment = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return Client(REMOTE_ADDR=peer, HTTP_HOST=host, **environment)


def far_browser(**headers: str) -> Client:
    return browser("192.168.1.9", FAR_HOST, **headers)


def require(**fields: bool) -> None:
    Settings.objects.update_or_create(pk=1, defaults=fields)


def lock_with_password() -> None:
    services.password_set(password=PASSWORD)
    require(require_password=True)


def lock_with_totp() -> list[str]:
    codes = enrol()
    require(require_totp=True)
    return codes


def auth(client: Client, route: str, body: dict[str, Any] | None = None, **headers: str) -> Any:
    """POST to a route of /api/dashboard-auth/."""
    return client.post(AUTH + route, body or {}, content_type="application/json", headers=headers)


def problem(response: HttpResponse | Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]
