"""Reads and writes the one settings row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from accounts import audit, changes
from accounts.operators.selectors import has_password, has_totp
from proxy.models import Settings

# A lock that nobody could open again is not turned on.
_LOCKS = {
    "require_password": (has_password, "no_password", "Set a password first; nobody could sign in without."),
    "require_totp": (has_totp, "no_totp", "Set up an authenticator first; nobody could sign in without."),
}


def settings_get() -> Settings:
    """The row, made with its defaults when it is first asked for."""
    row = Settings.objects.filter(pk=1).first()
    if row is not None:
        return row
    # RACE: two processes may both find nothing. get_or_create inserts in a savepoint of its own, so the
    # loser's IntegrityError breaks no surrounding transaction, and it then reads the winner's row.
    return Settings.objects.get_or_create(pk=1)[0]


def first_steps_end() -> None:
    """The overview leads through them no more, whatever becomes of accounts and requests."""
    Settings.objects.filter(pk=1, first_steps_done=False).update(first_steps_done=True)


@transaction.atomic
def settings_update(**fields: Any) -> Settings:
    """Change the named fields and tell every process. Raises ValidationError."""
    row = settings_get()
    changed = []
    for name, value in fields.items():
        # Refuses a misspelt name, which setattr would take.
        Settings._meta.get_field(name)
        former = getattr(row, name)
        if former != value:
            changed.append(f"{name}: {former} → {value}")
        setattr(row, name, value)
    row.full_clean()
    check_locks(fields)
    row.save(update_fields=list(fields))
    if changed:
        audit.record("settings_changed", detail="\n".join(changed))
    changes.bump()
    return row


def check_locks(fields: Mapping[str, Any]) -> None:
    """Raises ValidationError for a lock that would be turned on and could not be opened again."""
    errors = {
        name: ValidationError(message, code=code)
        for name, (can_open, code, message) in _LOCKS.items()
        if fields.get(name) is True and not can_open()
    }
    if errors:
        raise ValidationError(errors)
