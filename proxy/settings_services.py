"""Reads and writes the one settings row."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from accounts import changes
from proxy.models import Settings


def settings_get() -> Settings:
    """The row, made with its defaults when it is first asked for."""
    row = Settings.objects.filter(pk=1).first()
    if row is not None:
        return row
    # RACE: two processes may both find nothing. get_or_create inserts in a savepoint of its own, so the
    # loser's IntegrityError breaks no surrounding transaction, and it then reads the winner's row.
    return Settings.objects.get_or_create(pk=1)[0]


@transaction.atomic
def settings_update(**fields: Any) -> Settings:
    """Change the named fields and tell every process. Raises ValidationError."""
    row = settings_get()
    for name, value in fields.items():
        # Refuses a misspelt name, which setattr would take.
        Settings._meta.get_field(name)
        setattr(row, name, value)
    row.full_clean()
    row.save(update_fields=list(fields))
    changes.bump()
    return row
