"""Reads: the newest records, page by page."""

from __future__ import annotations

from requestlogs.models import RequestRecord


def records_newest(*, limit: int = 50, before_id: int | None = None) -> list[RequestRecord]:
    """Newest first. The next page begins before the last id of this one: later pages cost no more."""
    rows = RequestRecord.objects.order_by("-pk")
    if before_id is not None:
        rows = rows.filter(pk__lt=before_id)
    return list(rows[:limit])
