"""Reads: the operator and what is set up for signing in."""

from __future__ import annotations

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django_otp.plugins.otp_static.models import StaticToken

from accounts.operators.models import TotpDevice

OPERATOR_NAME = "operator"


def operator() -> User:
    """The built-in user that the dashboard belongs to; made when it is first needed."""
    user, _ = User.objects.get_or_create(
        username=OPERATOR_NAME,
        defaults={"is_staff": True, "is_superuser": True, "password": make_password(None)},
    )
    return user


def has_password() -> bool:
    user = User.objects.filter(username=OPERATOR_NAME).first()
    return user is not None and user.has_usable_password()


def totp_device() -> TotpDevice | None:
    device: TotpDevice | None = _confirmed().first()
    return device


def has_totp() -> bool:
    return bool(_confirmed().exists())


def recovery_codes_left() -> int:
    return int(StaticToken.objects.filter(device__user__username=OPERATOR_NAME).count())


def _confirmed() -> QuerySet[TotpDevice]:
    devices: QuerySet[TotpDevice] = TotpDevice.objects.filter(user__username=OPERATOR_NAME, confirmed=True)
    return devices
