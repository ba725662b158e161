"""The dashboard's sessions: begun by a sign-in, listed, and ended on the server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import django_otp
from django.contrib.auth import SESSION_KEY, get_user, login
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django_otp import DEVICE_ID_SESSION_KEY
from django_otp.models import Device

from accounts import audit
from accounts.operators.models import TotpDevice

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_PASSWORD_PROVED = "password_proved"  # noqa: S105 - the name of a flag
_STARTED_AT = "started_at"
_ADDRESS = "address"
_AGENT = "agent"
_LISTED = 200


@dataclass(frozen=True, slots=True)
class SessionView:
    """One sign-in as it is shown. `handle` names it without being the key that opens it."""

    handle: str
    started_at: datetime | None
    ends_at: datetime
    address: str
    agent: str
    is_this_one: bool


def is_signed_in(request: HttpRequest) -> bool:
    """Whether the user comes from a sign-in; in an open dashboard everybody acts as the operator."""
    return request.user.is_authenticated and SESSION_KEY in request.session


def has_proved_password(request: HttpRequest) -> bool:
    return is_signed_in(request) and request.session.get(_PASSWORD_PROVED) is True


def has_proved_code(request: HttpRequest) -> bool:
    return is_signed_in(request) and getattr(request.user, "otp_device", None) is not None


def code_was_proved(*, session_key: str) -> bool:
    """The same of a session that came without a request of Django's."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    device_id = request.session.get(DEVICE_ID_SESSION_KEY)
    device = Device.from_persistent_id(device_id) if device_id else None
    return user.is_authenticated and device is not None and device.user_id == user.pk


def begin_by_password(request: HttpRequest, user: User, *, address: str, length: timedelta) -> None:
    _begin(request, user, address, length)
    request.session[_PASSWORD_PROVED] = True


def begin_by_code(
    request: HttpRequest, user: User, device: TotpDevice, *, address: str, length: timedelta
) -> None:
    _begin(request, user, address, length)
    django_otp.login(request, device)


def _begin(request: HttpRequest, user: User, address: str, length: timedelta) -> None:
    """Sign in, or go on with the second step. Either way the cookie changes, so that none can be planted."""
    if is_signed_in(request) and request.user.pk == user.pk:
        request.session.cycle_key()
    else:
        login(request, user, backend=_BACKEND)
    now = timezone.now()
    request.session.set_expiry(now + length)
    request.session[_STARTED_AT] = now.isoformat()
    request.session[_ADDRESS] = address
    request.session[_AGENT] = request.headers.get("User-Agent", "")[:200]


def sessions_list(*, present_key: str | None, now: datetime) -> list[SessionView]:
    """The sign-ins that are open, newest first."""
    rows = Session.objects.filter(expire_date__gt=now).order_by("-expire_date")[:_LISTED]
    found = []
    for row in rows:
        data = row.get_decoded()
        if SESSION_KEY in data:
            found.append(
                SessionView(
                    handle=_handle(row.session_key),
                    started_at=parse_datetime(str(data.get(_STARTED_AT, ""))),
                    ends_at=row.expire_date,
                    address=str(data.get(_ADDRESS, "")),
                    agent=str(data.get(_AGENT, "")),
                    is_this_one=row.session_key == present_key,
                )
            )
    return found


def session_end(*, handle: str) -> bool:
    """False when it is over already."""
    for key in Session.objects.values_list("session_key", flat=True):
        if _handle(key) == handle:
            Session.objects.filter(session_key=key).delete()
            audit.record("session_ended", subject=handle)
            return True
    return False


def sessions_end_others(*, present_key: str | None) -> int:
    ended, _ = Session.objects.exclude(session_key=present_key or "").delete()
    audit.record("sessions_ended", detail=f"{ended} sessions")
    return ended


def _handle(key: str) -> str:
    # SECURITY: a key in a page could be read from it and used; its digest opens nothing.
    return hashlib.sha256(key.encode()).hexdigest()[:16]
