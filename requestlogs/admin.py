"""The request log: what was asked, which account served it, and why that one."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import CharField, F, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone

from accounts.models import Account
from codexproxy.admin_base import (
    UNKNOWN,
    KeysetChangeList,
    KeysetPaginator,
    ReadOnlyModelAdmin,
    display,
    time_cell,
)
from requestlogs.export import csv_lines
from requestlogs.models import RequestRecord
from requestlogs.selectors import recent_models

_SLOW_S = (5, 10, 30)
# Links to what is looked at most often.
_VIEWS = (
    ("Errors of the last 24 hours", "status__exact=error&period=24h"),
    ("Slow first token today", "slower=10&period=24h"),
    ("Cancelled by the client", "status__exact=cancelled&period=7d"),
    ("All", ""),
)
_PERIODS = {
    "1h": ("last hour", 1),
    "24h": ("last 24 hours", 24),
    "7d": ("last 7 days", 168),
    "30d": ("last 30 days", 720),
}


class TimeFilter(admin.SimpleListFilter):
    title = "time"
    parameter_name = "period"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(key, words) for key, (words, _) in _PERIODS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
        period = _PERIODS.get(self.value() or "")
        if period is None:
            return queryset
        return queryset.filter(requested_at__gte=timezone.now() - timedelta(hours=period[1]))


class ModelFilter(admin.SimpleListFilter):
    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(name, name) for name in recent_models()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class AccountFilter(admin.SimpleListFilter):
    title = "account"
    parameter_name = "account"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(account.pk, account.display_name) for account in Account.objects.order_by("email")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
        return queryset.filter(account_id=self.value()) if self.value() else queryset


class FirstTokenFilter(admin.SimpleListFilter):
    title = "first token"
    parameter_name = "slower"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return [(str(seconds), f"after {seconds} s or more") for seconds in _SLOW_S]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
        given = self.value() or ""
        if given not in map(str, _SLOW_S):
            return queryset
        return queryset.filter(first_token_ms__gte=1000 * int(given))


class BeforeFilter(admin.SimpleListFilter):
    """Not shown: it owns the paging parameter, which the change list would refuse as an unknown field."""

    title = KeysetChangeList.parameter
    parameter_name = KeysetChangeList.parameter

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, str]]:
        return []

    def queryset(self, request: HttpRequest, queryset: QuerySet[RequestRecord]) -> QuerySet[RequestRecord]:
        return queryset


@admin.register(RequestRecord)
class RequestRecordAdmin(ReadOnlyModelAdmin):
    list_display = (
        "time",
        "account_name",
        "model",
        "reasoning_effort",
        "outcome",
        "first_token",
        "duration",
        "tokens",
        "cost",
    )
    list_display_links = ("time",)
    list_filter = ("status", ModelFilter, AccountFilter, TimeFilter, FirstTokenFilter, BeforeFilter)
    search_fields = ("request_id", "error_code", "conversation", "client")
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50
    show_full_result_count = False
    list_fullwidth = True
    paginator = KeysetPaginator
    change_list_template = "admin/requestlogs/requestrecord/list.html"
    change_form_outer_after_template = "admin/requestlogs/requestrecord/story.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "request_id",
                    "requested_at",
                    "outcome",
                    "status_code",
                    "error_code",
                    "error_message",
                )
            },
        ),
        (
            "Request",
            {"fields": ("account_name", "model", "reasoning_effort", "service_tier", "path", "transport")},
        ),
        ("Client", {"fields": ("client", "client_address", "api_key_id", "conversation")}),
        ("Figures", {"fields": ("first_token", "duration", "tokens", "reasoning_tokens", "cost")}),
    )
    readonly_fields = ("outcome", "account_name", "first_token", "duration", "tokens", "cost")

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestRecord]:
        accounts = Account.objects.filter(pk=OuterRef("account_id"))
        name = accounts.values(name=Coalesce(NullIf(F("alias"), Value("")), F("email")))
        records: QuerySet[RequestRecord] = super().get_queryset(request)
        records = records.annotate(found_name=Subquery(name, output_field=CharField()))
        before = request.GET.get(KeysetChangeList.parameter, "")
        return records.filter(pk__lt=int(before)) if before.isdecimal() and len(before) < 19 else records

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export)
        urls: list[URLPattern] = super().get_urls()
        return [path("export/", export, name="requestlogs_requestrecord_export"), *urls]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {"views": _VIEWS, "query": request.GET.urlencode(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def export(self, request: HttpRequest) -> StreamingHttpResponse:
        """What the list is filtered to, as a file."""
        rows = self.get_changelist_instance(request).get_queryset(request).order_by("-pk")
        return StreamingHttpResponse(
            csv_lines(rows),
            content_type="text/csv; charset=utf-8",
            headers={
                "Content-Disposition": 'attachment; filename="requests.csv"',
                "Cache-Control": "no-store",
            },
        )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[KeysetChangeList]:
        return KeysetChangeList

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        record = self.get_object(request, object_id)
        context = {**(extra_context or {}), "story": _story(record) if record else {}}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    @display(description="time")
    def time(self, record: RequestRecord) -> str:
        return time_cell(record.requested_at, timezone.now())

    @display(description="account")
    def account_name(self, record: RequestRecord) -> str:
        return str(getattr(record, "found_name", None) or record.account_id or UNKNOWN)

    @display(description="status")
    def outcome(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/outcome.html", {"record": record})

    @display(description="first token")
    def first_token(self, record: RequestRecord) -> str:
        return _seconds(record.first_token_ms)

    @display(description="duration")
    def duration(self, record: RequestRecord) -> str:
        return _seconds(record.latency_ms)

    @display(description="tokens in (cached) / out")
    def tokens(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/tokens.html", {"record": record})

    @display(description="cost")
    def cost(self, record: RequestRecord) -> str:
        return UNKNOWN if record.cost_usd is None else f"${record.cost_usd:.4f}"


def _seconds(milliseconds: int | None) -> str:
    return UNKNOWN if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def _story(record: RequestRecord) -> dict[str, Any]:
    """The attempts, and why this account: with names where the records hold ids."""
    names = {account.pk: account.display_name for account in Account.objects.all()}

    def named(entries: object) -> list[dict[str, Any]]:
        # Rows outlive the code that wrote them: what is not as expected is left out.
        found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
        return [
            {**entry, "account": names.get(str(entry.get("account_id")), entry.get("account_id"))}
            for entry in found
        ]

    routing = record.routing if isinstance(record.routing, dict) else {}
    attempts = named(record.attempts)
    return {
        "attempts": attempts,
        "bars": bars(attempts, record.latency_ms),
        "why": routing.get("why", ""),
        "passed_over": named(routing.get("passed_over")),
    }


def bars(attempts: list[dict[str, Any]], latency_ms: int | None) -> list[dict[str, Any]]:
    """Where each attempt lies in the request's time, in percent of it; what it waited for, and what came."""
    if not latency_ms:
        return []
    found = []
    for attempt in attempts:
        began, ended = attempt.get("started_ms"), attempt.get("ended_ms")
        first = attempt.get("first_event_ms")
        if not isinstance(began, int):
            continue
        end = ended if isinstance(ended, int) else latency_ms
        turn = first if isinstance(first, int) else end
        marks = [min(100.0, max(0.0, 100 * moment / latency_ms)) for moment in (began, turn, end)]
        found.append(
            {
                "account": attempt["account"],
                "outcome": attempt.get("outcome"),
                "x": round(marks[0], 2),
                "waited": round(max(0.0, marks[1] - marks[0]), 2),
                "streamed_x": round(marks[1], 2),
                "streamed": round(max(0.0, marks[2] - marks[1]), 2),
            }
        )
    return found
