"""Reads: the newest records page by page, the causes of those that failed, and a conversation's turns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Min, Value
from django.db.models.functions import NullIf

from requestlogs.models import RequestRecord
from requestlogs.prompt_cache import Turn


def records_newest(*, limit: int = 50, before_id: int | None = None) -> list[RequestRecord]:
    """Newest first. The next page begins before the last id of this one: later pages cost no more."""
    rows = RequestRecord.objects.order_by("-pk")
    if before_id is not None:
        rows = rows.filter(pk__lt=before_id)
    return list(rows[:limit])


# A list of models that were never used for days would only be in the way, and a DISTINCT over the
# whole table takes seconds.
_ROWS_FOR_MODEL_NAMES = 2_000


def recent_models() -> list[str]:
    """The models of the newest requests, by name."""
    recent = RequestRecord.objects.order_by("-pk").values_list("model", flat=True)[:_ROWS_FOR_MODEL_NAMES]
    return sorted({name for name in recent if name})


@dataclass(frozen=True, slots=True)
class Cause:
    """The failed requests of one code. `newest_id` is one of them, to look at."""

    code: str
    requests: int
    accounts: int
    first_at: datetime
    last_at: datetime
    newest_id: int


def causes(since: datetime) -> list[Cause]:
    """Why requests failed from `since` on; the most frequent cause first. Reads failed rows only."""
    rows = (
        RequestRecord.objects.filter(status=RequestRecord.Status.ERROR, requested_at__gte=since)
        .order_by()
        .values_list("error_code")
        .annotate(
            requests=Count("pk"),
            # "" stands for no account.
            accounts=Count(NullIf("account_id", Value("")), distinct=True),
            first_at=Min("requested_at"),
            last_at=Max("requested_at"),
            newest_id=Max("pk"),
        )
    )
    found = [Cause(code or "", *counted) for code, *counted in rows]
    return sorted(found, key=lambda cause: (-cause.requests, cause.code))


def conversation_turns(conversation: str, *, limit: int = 500) -> list[Turn]:
    """Its newest answered requests, oldest first. Those whose tokens upstream has not told are left out."""
    rows = (
        RequestRecord.objects.filter(conversation=conversation, input_tokens__isnull=False)
        .exclude(conversation="")
        .exclude(account_id="")
        .order_by("-pk")[:limit]
    )
    return [
        Turn(
            row.requested_at,
            row.account_id,
            row.model,
            row.input_tokens or 0,
            row.cached_input_tokens or 0,
            row.service_tier,
            tuple(attempt for attempt in row.attempts if isinstance(attempt, dict)),
            row.routing if isinstance(row.routing, dict) else {},
        )
        for row in reversed(rows)
    ]
