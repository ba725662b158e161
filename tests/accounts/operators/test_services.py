"""The operator's password, authenticator and recovery codes."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import AuditEvent
from accounts.operators import selectors, services
from accounts.operators.codes import SecretError
from accounts.operators.models import Try
from tests.accounts.operators.totp import PASSWORD, SECRET, code, device, enrol, wrong_code

pytestmark = pytest.mark.django_db


def actions() -> list[str]:
    return list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))


def test_a_password_is_set_changed_and_removed() -> None:
    assert not selectors.has_password()
    services.password_set(password=PASSWORD)
    assert selectors.operator().check_password(PASSWORD)
    services.password_set(password="another horse", replace=True)
    assert selectors.operator().check_password("another horse")
    services.password_remove()
    assert not selectors.has_password()
    assert actions() == ["password_set", "password_changed", "password_removed"]


def test_a_first_password_replaces_none() -> None:
    services.password_set(password=PASSWORD)
    with pytest.raises(services.AlreadyConfigured):
        services.password_set(password="another horse")
    assert selectors.operator().check_password(PASSWORD)


@pytest.mark.parametrize(
    ("password", "code"),
    [("seven77", "validation_error"), ("x" * 73, "password_too_long"), ("ä" * 37, "password_too_long")],
)
def test_a_password_that_will_not_do_is_refused(password: str, code: str) -> None:
    with pytest.raises(services.PasswordRefused) as refused:
        services.password_set(password=password)
    assert refused.value.code == code


@pytest.mark.parametrize("password", ["x" * 8, "x" * 72, "ä" * 36])
def test_the_longest_and_the_shortest_password_are_taken(password: str) -> None:
    services.password_set(password=password)
    assert selectors.operator().check_password(password)


def test_enrolling_takes_a_code_and_gives_ten_recovery_codes() -> None:
    codes = enrol()
    assert len(codes) == 10
    assert selectors.recovery_codes_left() == 10
    assert selectors.has_totp()
    assert actions() == ["totp_enabled", "recovery_codes_made"]


def test_the_code_that_confirms_can_be_used_once_to_sign_in() -> None:
    given = code()
    services.totp_enrol(secret=SECRET, code=given, now_s=time.time())
    assert services.code_accept(device=device(), code=given) == "code"
    assert services.code_accept(device=device(), code=given) is None


def test_nothing_is_kept_of_a_secret_that_was_not_confirmed() -> None:
    with pytest.raises(services.WrongCode):
        services.totp_enrol(secret=SECRET, code=wrong_code(), now_s=time.time())
    with pytest.raises(SecretError):
        services.totp_enrol(secret="short", code=code(), now_s=time.time())
    assert not selectors.has_totp()
    assert actions() == []


def test_a_second_authenticator_is_refused() -> None:
    enrol()
    with pytest.raises(services.AlreadyConfigured):
        enrol()


def test_new_recovery_codes_end_the_old_ones() -> None:
    old = enrol()
    new = services.recovery_codes_replace()
    assert services.code_accept(device=device(), code=old[0]) is None
    assert services.code_accept(device=device(), code=new[0]) == "recovery code"
    assert selectors.recovery_codes_left() == 9


def test_removing_the_authenticator_ends_every_session() -> None:
    enrol()
    SessionStore().create()
    assert services.totp_remove()
    assert not selectors.has_totp()
    assert (selectors.recovery_codes_left(), Session.objects.count()) == (0, 0)
    assert not services.totp_remove()
    assert actions().count("totp_disabled") == 1


def test_the_audit_log_has_no_secret() -> None:
    codes = enrol()
    services.password_set(password=PASSWORD)
    log = repr(list(AuditEvent.objects.values()))
    assert not [secret for secret in (*codes, SECRET, PASSWORD) if secret in log]


def test_sessions_that_are_over_and_old_tries_are_removed() -> None:
    now = timezone.now()
    SessionStore().create()
    over = SessionStore()
    over.create()
    Session.objects.filter(pk=over.session_key).update(expire_date=now - timedelta(hours=1))
    Try.objects.create(kind="totp", network="192.0.2.1", at=now - timedelta(hours=1))
    assert services.sign_ins_forget(now=now) == 1
    assert (Session.objects.count(), Try.objects.count()) == (1, 0)
