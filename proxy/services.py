"""Writes of the data plane: conversations."""

from __future__ import annotations

from datetime import UTC, datetime

from proxy.affinity import Entry
from proxy.models import StickySession


def conversations_store(*, entries: list[tuple[str, Entry]]) -> None:
    """Insert or update; `created_at` of a known conversation stays."""
    rows = [
        StickySession(
            key=key,
            account_id=entry.account_id,
            derived=entry.derived,
            updated_at=datetime.fromtimestamp(entry.updated_at, UTC),
        )
        for key, entry in entries
    ]
    StickySession.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["account_id", "derived", "updated_at"],
    )


def conversations_forget(*, before: datetime) -> int:
    """Delete conversations that were last used before a moment; returns how many."""
    deleted, _ = StickySession.objects.filter(updated_at__lt=before).delete()
    return deleted
