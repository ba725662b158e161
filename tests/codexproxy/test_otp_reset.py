"""The way back in for the locked-out."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command

from accounts.models import AuditEvent
from accounts.operators import selectors
from tests.accounts.operators.totp import code
from tests.codexproxy.browsing import browser, lock_with_password, lock_with_totp

pytestmark = pytest.mark.django_db


def reset(*arguments: str) -> str:
    out = StringIO()
    call_command("otp_reset", *arguments, stdout=out)
    return out.getvalue()


def test_it_opens_the_dashboard_again() -> None:
    lock_with_totp()
    browser().post("/admin/login/", {"code": code()})
    assert "authenticator is removed" in reset()
    assert (selectors.has_totp(), selectors.recovery_codes_left()) == (False, 0)
    assert not Session.objects.exists()
    assert browser().get("/admin/").status_code == 200
    assert AuditEvent.objects.filter(action="totp_disabled", actor="command line").exists()


def test_the_password_stays_unless_it_is_named() -> None:
    lock_with_password()
    lock_with_totp()
    assert "still required" in reset()
    assert browser().get("/api/settings").status_code == 401
    assert "password is removed" in reset("--password")
    assert browser().get("/api/settings").status_code == 200


def test_it_says_when_there_was_nothing_to_remove() -> None:
    out = reset("--password")
    assert "No authenticator was set up." in out
    assert "No password was set." in out
