"""What the JSON of the request log may be asked for, as conditions on its rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import or_

from django.db.models import Q

from requestlogs.models import RequestRecord

# Between a model and an effort in one option.
OPTION_DELIMITER = ":::"
_RATE_LIMIT_CODES = ("rate_limit_exceeded", "usage_limit_reached")
_QUOTA_CODES = ("insufficient_quota", "usage_not_included", "quota_exceeded")
_FAILED = Q(status=RequestRecord.Status.ERROR)
# A code that is NULL is in no list and in no list's complement: it is named by itself.
_OTHER_CODE = Q(error_code__isnull=True) | ~Q(error_code__in=[*_RATE_LIMIT_CODES, *_QUOTA_CODES])
_STATUSES = {
    "ok": Q(status=RequestRecord.Status.SUCCESS),
    "rate_limit": _FAILED & Q(error_code__in=_RATE_LIMIT_CODES),
    "quota": _FAILED & Q(error_code__in=_QUOTA_CODES),
    "error": _FAILED & _OTHER_CODE,
    "cancelled": Q(status=RequestRecord.Status.CANCELLED),
}
_NOTHING = Q(pk__in=[])
_SEARCHED = ("request_id", "account_id", "model", "error_code", "error_message", "conversation", "client")


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What was asked for; empty means all."""

    search: str = ""
    account_ids: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    efforts: tuple[str, ...] = ()
    model_options: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def condition(self) -> Q:
        found = statuses_condition(self.statuses) & self._model_condition()
        if self.account_ids:
            found &= Q(account_id__in=self.account_ids)
        if self.since is not None:
            found &= Q(requested_at__gte=self.since)
        if self.until is not None:
            found &= Q(requested_at__lte=self.until)
        if self.search.strip():
            term = self.search.strip()
            found &= _any(Q(**{f"{name}__icontains": term}) for name in _SEARCHED)
        return found

    def _model_condition(self) -> Q:
        if options := model_options(self.model_options):
            return _any(
                Q(model=model, reasoning_effort=effort)
                if effort
                else Q(model=model, reasoning_effort__isnull=True)
                for model, effort in options
            )
        found = Q()
        if self.models:
            found &= Q(model__in=self.models)
        if self.efforts:
            found &= Q(reasoning_effort__in=self.efforts)
        return found


def status_word(row: RequestRecord) -> str:
    """Which of the statuses this row has."""
    if row.status != RequestRecord.Status.ERROR:
        return "ok" if row.status == RequestRecord.Status.SUCCESS else "cancelled"
    if row.error_code in _RATE_LIMIT_CODES:
        return "rate_limit"
    return "quota" if row.error_code in _QUOTA_CODES else "error"


def statuses_condition(given: Iterable[str]) -> Q:
    """Of several any; words that are no status bring nothing, and alone nothing at all."""
    words = [word.lower() for word in given if word]
    if not words or "all" in words:
        return Q()
    return _any(_STATUSES[word] for word in words if word in _STATUSES)


def model_options(given: Iterable[str]) -> list[tuple[str, str]]:
    """(model, effort) of each; an empty effort is that of requests that named none."""
    parts = (option.partition(OPTION_DELIMITER) for option in given)
    return [(model.strip(), effort.strip()) for model, _, effort in parts if model.strip()]


def _any(conditions: Iterable[Q]) -> Q:
    return reduce(or_, conditions, _NOTHING)
