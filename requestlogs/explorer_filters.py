"""What the request explorer can be narrowed down to; by the same conditions as the JSON of the log."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.models import Account
from codexproxy.admin_base import KeysetChangeList
from requestlogs.key_names import key_names
from requestlogs.log_filters import statuses_condition
from requestlogs.models import ErrorHour, RequestRecord
from requestlogs.selectors import recent_models

Records = QuerySet[RequestRecord]
Choices = Iterable[tuple[str, str]]

_SLOW_S = (5, 10, 30)
_PERIODS = {
    "1h": ("last hour", 1),
    "24h": ("last 24 hours", 24),
    "7d": ("last 7 days", 168),
    "30d": ("last 30 days", 720),
}
# "failed" is any of the three kinds of failure.
_OUTCOMES = {
    "ok": ("answered", ("ok",)),
    "failed": ("failed, for any cause", ("rate_limit", "quota", "error")),
    "rate_limit": ("failed: rate limit", ("rate_limit",)),
    "quota": ("failed: quota", ("quota",)),
    "error": ("failed: another cause", ("error",)),
    "cancelled": ("cancelled by the client", ("cancelled",)),
}
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")
_NOT_NAMED = "unnamed"
# No code of upstream's begins like this.
NO_CODE = "-none-"
_ERROR_CODES_SINCE = timedelta(days=30)


class OutcomeFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(key, words) for key, (words, _) in _OUTCOMES.items()]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        value = self.value()
        if not value:
            return queryset
        # A word that is no status fits nothing, as in the JSON.
        return queryset.filter(statuses_condition(_OUTCOMES.get(value, ("", (value,)))[1]))


class CodeFilter(admin.SimpleListFilter):
    title = "error code"
    parameter_name = "code"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        recent = ErrorHour.objects.filter(hour__gte=timezone.now() - _ERROR_CODES_SINCE)
        codes = set(recent.values_list("error_code", flat=True)) | {self.value() or ""}
        named = [(code, code) for code in sorted(codes - {"", NO_CODE})]
        return [*named, (NO_CODE, "no code")] if codes & {"", NO_CODE} else named

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        if self.value() == NO_CODE:
            return queryset.filter(Q(error_code=None) | Q(error_code=""))
        return queryset.filter(error_code=self.value()) if self.value() else queryset


class TimeFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(key, words) for key, (words, _) in _PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        period = _PERIODS.get(self.value() or "")
        if period is None:
            return queryset
        return queryset.filter(requested_at__gte=timezone.now() - timedelta(hours=period[1]))


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in recent_models()]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset.filter(model=self.value()) if self.value() else queryset


class EffortFilter(admin.SimpleListFilter):
    title = "effort"
    parameter_name = "effort"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(_NOT_NAMED, "not named"), *((effort, effort) for effort in _EFFORTS)]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        if self.value() == _NOT_NAMED:
            return queryset.filter(reasoning_effort__isnull=True)
        return queryset.filter(reasoning_effort=self.value()) if self.value() else queryset


class AccountFilter(admin.SimpleListFilter):
    title = "account"
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(account.pk, account.display_name) for account in Account.objects.order_by("email")]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset.filter(account_id=self.value()) if self.value() else queryset


class KeyFilter(admin.SimpleListFilter):
    title = "API key"
    parameter_name = "key"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        named = sorted(key_names().items(), key=lambda pair: pair[1].lower())
        return [("0", "none"), *((str(key_id), name) for key_id, name in named)]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        value = self.value() or ""
        if not value:
            return queryset
        if not value.isdecimal() or len(value) > 18:
            return queryset.none()
        return queryset.filter(api_key_id=int(value)) if int(value) else queryset.filter(api_key_id=None)


class FirstTokenFilter(admin.SimpleListFilter):
    title = "first token"
    parameter_name = "slower"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(str(seconds), f"after {seconds} s or more") for seconds in _SLOW_S]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        given = self.value() or ""
        if given not in map(str, _SLOW_S):
            return queryset
        return queryset.filter(first_token_ms__gte=1000 * int(given))


class AttemptsFilter(admin.SimpleListFilter):
    title = "attempts"
    parameter_name = "attempts"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("several", "more than one")]

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset.filter(attempts__1__isnull=False) if self.value() == "several" else queryset


class BeforeFilter(admin.SimpleListFilter):
    """Not shown: it owns the paging parameter, which the change list would refuse as an unknown field."""

    title = KeysetChangeList.parameter
    parameter_name = KeysetChangeList.parameter

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return []

    def queryset(self, request: HttpRequest, queryset: Records) -> Records:
        return queryset
