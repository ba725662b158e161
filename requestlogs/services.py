"""Writes: deletes old records."""

from __future__ import annotations

from datetime import datetime

from requestlogs.models import RequestRecord


def records_trim(*, before: datetime, batch: int = 5000) -> int:
    """Delete records that are older, some at a time so that writers get their turn; returns how many."""
    deleted = 0
    while True:
        ids = list(
            RequestRecord.objects.filter(requested_at__lt=before)
            .order_by("requested_at")
            .values_list("pk", flat=True)[:batch]
        )
        if not ids:
            return deleted
        deleted += RequestRecord.objects.filter(pk__in=ids).delete()[0]
