"""The dashboard's JSON for signing in: /api/dashboard-auth/."""

from __future__ import annotations

import base64
import io
from typing import Any, Literal, TypedDict

import segno
from django.conf import settings
from django.http import HttpRequest
from django.urls import path
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.operators import codes, selectors, sessions, viewers
from codexproxy import gate, sign_in
from codexproxy.api_schema import Done, gives, takes
from codexproxy.errors import DashboardError

_LONGEST_TEXT = 1024


class SessionShown(TypedDict):
    """A guest is who has signed in as the viewer."""

    authenticated: bool
    passwordRequired: bool
    passwordConfigured: bool
    passwordManagementEnabled: bool
    passwordSessionActive: bool
    totpRequiredOnLogin: bool
    totpConfigured: bool
    bootstrapRequired: bool
    bootstrapTokenConfigured: bool
    authMode: str
    role: Literal["admin", "guest"] | None
    permissions: list[Literal["read", "write"]]
    guestAccessEnabled: bool
    guestPasswordRequired: bool


class TotpBegun(TypedDict):
    secret: str
    otpauthUri: str
    qrSvgDataUri: str


class TotpConfirmed(TypedDict):
    status: str
    recoveryCodes: list[str]


@gives(SessionShown)
@api_view(["GET"])
def session(request: Request) -> Response:
    """Which locks there are, and whether this client is in. Always answers."""
    return _session(request._request)


@gives(SessionShown)
@takes("password")
@api_view(["POST"])
def password_setup(request: Request) -> Response:
    """Set the first password, and sign in."""
    django_request = request._request
    sign_in.password_set_up(django_request, _text(request, "password"), _token(request))
    return _session(django_request)


@gives(SessionShown)
@takes("password")
@api_view(["POST"])
def password_login(request: Request) -> Response:
    """Sign in; the first step where a code is required too."""
    sign_in.sign_in_with_password(request._request, _text(request, "password"))
    return _session(request._request)


@gives(Done)
@takes("currentPassword", "newPassword")
@api_view(["POST"])
def password_change(request: Request) -> Response:
    """Change it. Every other session ends."""
    current, new = _text(request, "currentPassword"), _text(request, "newPassword")
    sign_in.password_change(request._request, current, new)
    return Response({"status": "ok"})


@gives(Done)
@api_view(["DELETE"])
def password(request: Request) -> Response:
    """Remove the password and its lock; the body names it: `password`."""
    sign_in.password_remove(request._request, _text(request, "password"))
    return Response({"status": "ok"})


@gives(TotpBegun)
@api_view(["POST"])
def totp_setup_start(request: Request) -> Response:
    """A new secret, its address and its QR code. Nothing is kept."""
    sign_in.totp_set_up_begin(request._request, _token(request))
    secret = codes.new_secret()
    begun: TotpBegun = {
        "secret": secret,
        "otpauthUri": codes.otpauth_uri(secret),
        "qrSvgDataUri": qr_data_uri(secret),
    }
    return Response(begun, headers={"Cache-Control": "no-store"})


@gives(TotpConfirmed)
@takes("secret", "code")
@api_view(["POST"])
def totp_setup_confirm(request: Request) -> Response:
    """Keep that secret; answers with ten recovery codes, once."""
    secret, code = _text(request, "secret"), _text(request, "code")
    recovery_codes = sign_in.totp_set_up(request._request, secret, code, _token(request))
    confirmed: TotpConfirmed = {"status": "ok", "recoveryCodes": recovery_codes}
    return Response(confirmed, headers={"Cache-Control": "no-store"})


@gives(SessionShown)
@takes("code")
@api_view(["POST"])
def totp_verify(request: Request) -> Response:
    """Sign in with a code or a recovery code. Each counts once."""
    sign_in.sign_in_with_code(request._request, _text(request, "code"))
    return _session(request._request)


@gives(Done)
@takes("code")
@api_view(["POST"])
def totp_disable(request: Request) -> Response:
    """Remove authenticator, recovery codes and lock. Every session ends."""
    if not sessions.has_proved_code(request._request):
        raise sign_in.as_error(gate.TOTP_REFUSED)
    sign_in.totp_disable(request._request, _text(request, "code"))
    return Response({"status": "ok"})


@gives(Done)
@api_view(["POST"])
def logout(request: Request) -> Response:
    """End the session on the server."""
    sign_in.sign_out(request._request)
    return Response({"status": "ok"})


urlpatterns = [
    path("session", session),
    path("password/setup", password_setup),
    path("password/login", password_login),
    path("password/change", password_change),
    path("password", password),
    path("totp/setup/start", totp_setup_start),
    path("totp/setup/confirm", totp_setup_confirm),
    path("totp/verify", totp_verify),
    path("totp/disable", totp_disable),
    path("logout", logout),
]


def qr_data_uri(secret: str) -> str:
    """The secret as a picture for the authenticator's camera."""
    out = io.BytesIO()
    # White behind and around it: on a dark page a camera would not find it.
    code = segno.make(codes.otpauth_uri(secret), error="m", micro=False)
    code.save(out, kind="svg", scale=5, border=4, light="#fff")
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()


def _session(request: HttpRequest) -> Response:
    on = gate.locks(request)
    is_in = gate.admits(request)
    is_guest = viewers.is_viewer(request.user)
    has_viewer = viewers.viewer() is not None
    shown: SessionShown = {
        "authenticated": is_in,
        "passwordRequired": on.password,
        "passwordConfigured": selectors.has_password(),
        "passwordManagementEnabled": True,
        "passwordSessionActive": sessions.has_proved_password(request),
        "totpRequiredOnLogin": on.totp,
        "totpConfigured": selectors.has_totp(),
        "bootstrapRequired": on.are_open and sign_in.needs_setup_token(request),
        "bootstrapTokenConfigured": bool(settings.DASHBOARD_SETUP_TOKEN),
        "authMode": "standard",
        "role": ("guest" if is_guest else "admin") if is_in else None,
        "permissions": (["read"] if is_guest else ["read", "write"]) if is_in else [],
        "guestAccessEnabled": has_viewer,
        "guestPasswordRequired": has_viewer,
    }
    return Response(shown, headers={"Cache-Control": "no-store"})


def _text(request: Request, name: str) -> str:
    body: Any = request.data
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, str) or not value or len(value) > _LONGEST_TEXT:
        raise DashboardError(422, "validation_error", "Invalid request payload")
    return value


def _token(request: Request) -> str:
    return request.headers.get(sign_in.SETUP_TOKEN_HEADER, "")
