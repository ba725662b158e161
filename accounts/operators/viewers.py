"""The viewer: whoever signs in with its password sees the dashboard and changes nothing."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from accounts import audit
from accounts.operators.selectors import operator
from accounts.operators.services import PasswordRefused, check_password_rules

VIEWER_NAME = "viewer"


def viewer() -> User | None:
    """None while there is none."""
    found = User.objects.filter(username=VIEWER_NAME, is_active=True).first()
    return found if found is not None and found.has_usable_password() else None


def is_viewer(user: object) -> bool:
    return getattr(user, "username", None) == VIEWER_NAME


def viewer_set(*, password: str) -> User:
    """Every session of a former password ends. Raises PasswordRefused."""
    check_password_rules(password)
    if operator().check_password(password):
        raise PasswordRefused("validation_error", "This is the operator's password; the viewer has another.")
    # To see every page takes every permission; the gate lets it change nothing.
    made, _ = User.objects.get_or_create(
        username=VIEWER_NAME, defaults={"is_staff": True, "is_superuser": True}
    )
    made.is_active = made.is_staff = made.is_superuser = True
    made.set_password(password)
    with transaction.atomic():
        made.save()
        audit.record("viewer_set")
    return made


@transaction.atomic
def viewer_remove() -> bool:
    """Its sessions end. False when there was none."""
    deleted, _ = User.objects.filter(username=VIEWER_NAME).delete()
    if deleted:
        audit.record("viewer_removed")
    return bool(deleted)
