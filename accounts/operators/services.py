"""Writes: the operator's password, authenticator and recovery codes."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import IntegrityError, transaction
from django_otp.plugins.otp_static.models import StaticToken

from accounts import audit
from accounts.operators import codes, throttle
from accounts.operators.models import RecoveryDevice, TotpDevice
from accounts.operators.selectors import operator

PASSWORD_LENGTH = 8
# Not our hasher's limit, but the one that clients of the JSON routes know.
PASSWORD_BYTES = 72


class PasswordRefused(ValueError):
    """A new password that will not do; the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class AlreadyConfigured(Exception):
    """What would be set up is set up already."""


class WrongCode(Exception):
    """The code does not fit the secret."""


def check_password_rules(password: str) -> None:
    """Raises PasswordRefused."""
    if len(password) < PASSWORD_LENGTH:
        raise PasswordRefused(
            "validation_error", f"The password must have at least {PASSWORD_LENGTH} characters."
        )
    if len(password.encode("utf-8", "surrogatepass")) > PASSWORD_BYTES:
        raise PasswordRefused(
            "password_too_long", f"The password may have at most {PASSWORD_BYTES} bytes in UTF-8."
        )


def password_set(*, password: str, replace: bool = False) -> User:
    """Every session signed in before ends. Raises PasswordRefused and AlreadyConfigured."""
    check_password_rules(password)
    user = operator()
    former = user.password
    if user.has_usable_password() and not replace:
        raise AlreadyConfigured
    # Takes long on purpose, so it is done before the transaction.
    user.set_password(password)
    with transaction.atomic():
        # Of two first passwords that come at the same moment one counts.
        if not User.objects.filter(pk=user.pk, password=former).update(password=user.password):
            raise AlreadyConfigured
        audit.record("password_changed" if replace else "password_set")
    return user


@transaction.atomic
def password_remove() -> User:
    """Every session signed in before ends."""
    user = operator()
    user.set_unusable_password()
    user.save(update_fields=["password"])
    audit.record("password_removed")
    return user


@transaction.atomic
def totp_enrol(*, secret: str, code: str, now_s: float) -> list[str]:
    """Keep the secret once a code shows that the authenticator has it; returns ten recovery codes.

    The code is not spent: it may be used to sign in. Raises SecretError, WrongCode and AlreadyConfigured.
    """
    user = operator()
    if TotpDevice.objects.filter(user=user).exists():
        raise AlreadyConfigured
    parsed = codes.parse_secret(secret)
    if codes.matching_step(parsed, code, now_s=now_s) is None:
        raise WrongCode
    try:
        with transaction.atomic():
            TotpDevice.objects.create(user=user, name="authenticator", secret=parsed)
    except IntegrityError:
        raise AlreadyConfigured from None
    audit.record("totp_enabled")
    return recovery_codes_replace()


@transaction.atomic
def recovery_codes_replace() -> list[str]:
    """Ten new ones; those made before are void. They are told here and never again."""
    user = operator()
    RecoveryDevice.objects.filter(user=user).delete()
    device = RecoveryDevice.objects.create(user=user, name="recovery codes")
    new = codes.new_recovery_codes()
    StaticToken.objects.bulk_create(
        StaticToken(device=device, token=codes.recovery_digest(code)) for code in new
    )
    audit.record("recovery_codes_made", detail=f"{len(new)} codes")
    return new


@transaction.atomic
def totp_remove() -> bool:
    """With its recovery codes; every session ends. False when there was none."""
    user = operator()
    deleted, _ = TotpDevice.objects.filter(user=user).delete()
    RecoveryDevice.objects.filter(user=user).delete()
    Session.objects.all().delete()
    if deleted:
        audit.record("totp_disabled")
    return bool(deleted)


def code_accept(*, device: TotpDevice, code: str) -> str | None:
    """What the code was, `code` or `recovery code`, and it is spent; None for a wrong one."""
    if device.verify_token(code):
        return "code"
    recovery = RecoveryDevice.objects.filter(user=device.user_id).first()
    return "recovery code" if recovery is not None and recovery.verify_token(code) else None


def sign_ins_forget(*, now: datetime) -> int:
    """Sessions that are over, and old tries."""
    throttle.forget(before=now - throttle.PERIOD)
    deleted, _ = Session.objects.filter(expire_date__lt=now).delete()
    return deleted
