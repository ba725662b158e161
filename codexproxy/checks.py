"""System checks for the dangers of this project."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register


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
