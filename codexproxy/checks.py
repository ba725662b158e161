"""System checks for the dangers of this project."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import OperationalError, ProgrammingError

from codexproxy import exposure
from proxy.models import Settings


@register()
def check_connection_age(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A stream lasts for minutes and its thread is not told when its request ends."""
    age = settings.DATABASES["default"].get("CONN_MAX_AGE", 0)
    if age == 0:
        return []
    return [
        Error(
            f"CONN_MAX_AGE is {age!r}: database connections would leak, one with each request.",
            hint="Set CONN_MAX_AGE to 0; PostgreSQL has a pool of its own (OPTIONS['pool']).",
            id="codexproxy.E001",
        )
    ]


@register()
def check_key_file(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whoever reads the key file and the database has every account's tokens."""
    path = Path(settings.ENCRYPTION_KEY_FILE)
    if os.name != "posix" or not path.is_file() or not stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
        return []
    return [
        Warning(
            f"The encryption key {path} can be read by every user of this machine.",
            hint=f"chmod 600 {path}",
            id="codexproxy.W001",
        )
    ]


@register(Tags.database)
def check_open_dashboard(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Whoever reaches a dashboard without a lock has the accounts."""
    networks = ", ".join(str(network) for network in settings.DASHBOARD_NETWORKS)
    if not (networks or exposure.is_known_beyond_loopback()) or _is_locked():
        return []
    who = f"this machine and {networks}" if networks else "this machine"
    return [
        Warning(
            f"The dashboard asks nobody to sign in: it is open to {who}, and the server may be reached "
            "from other machines.",
            hint="Set a password or an authenticator on the dashboard's security page and require it.",
            id="codexproxy.W002",
        )
    ]


def _is_locked() -> bool:
    try:
        row = Settings.objects.filter(pk=1).first()
    except (OperationalError, ProgrammingError):
        # Before the first migration.
        return False
    return row is not None and (row.require_password or row.require_totp)
