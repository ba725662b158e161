"""Whether a server runs on the database: what replaces it needs it for itself."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.db import connection

from codexproxy.sqlite_recovery import is_open_elsewhere


def is_served() -> bool:
    """Whether another process has the database open."""
    if connection.vendor == "sqlite":
        # With a connection of its own a process cannot look.
        own = connection.connection is not None
        return not own and is_open_elsewhere(Path(str(settings.DATABASES["default"]["NAME"])))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            # The pool may have opened more connections than the one that asks.
            "AND application_name <> current_setting('application_name') "
            "AND backend_type = 'client backend'"
        )
        return bool(cursor.fetchone()[0])
