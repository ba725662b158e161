"""The request log: what was asked, which account served it, and why that one."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, CharField, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, NullIf
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html

from accounts import audit
from accounts.models import Account
from codexproxy.admin_base import (
    UNKNOWN,
    KeysetChangeList,
    KeysetPaginator,
    ReadOnlyModelAdmin,
    display,
    moment,
    time_cell,
)
from requestlogs import account_admin  # noqa: F401 - registers the accounts' pages with their requests
from requestlogs.explorer_filters import (
    AccountFilter,
    AttemptsFilter,
    BeforeFilter,
    CodeFilter,
    EffortFilter,
    FirstTokenFilter,
    KeyFilter,
    ModelFilter,
    OutcomeFilter,
    TimeFilter,
)
from requestlogs.export import csv_lines
from requestlogs.key_names import key_names
from requestlogs.models import RequestRecord
from requestlogs.story import story
from usage.selectors import price_book

# A rate over less than this says nothing.
_SHORTEST_MS = 50

_TRANSPORTS = {"http": "HTTP", "websocket": "WebSocket"}

# Links to what is looked at most often.
_VIEWS = (
    ("All", ""),
    ("Failed, 24 h", "outcome=failed&period=24h"),
    ("Slow first token, 24 h", "slower=10&period=24h"),
    ("Several attempts, 7 d", "attempts=several&period=7d"),
    ("Cancelled, 7 d", "outcome=cancelled&period=7d"),
)


@admin.register(RequestRecord)
class RequestRecordAdmin(ReadOnlyModelAdmin):
    list_display = (
        "time",
        "served",
        "asked",
        "way",
        "outcome",
        "first_token",
        "took",
        "tokens",
        "cost",
    )
    list_display_links = ("time",)
    list_filter = (
        TimeFilter,
        OutcomeFilter,
        CodeFilter,
        AccountFilter,
        KeyFilter,
        ModelFilter,
        EffortFilter,
        FirstTokenFilter,
        AttemptsFilter,
        BeforeFilter,
    )
    search_fields = ("request_id", "error_code", "conversation", "client")
    ordering = ("-id",)
    sortable_by = ()
    list_per_page = 50
    show_full_result_count = False
    list_fullwidth = True
    paginator = KeysetPaginator
    change_list_template = "admin/requestlogs/requestrecord/list.html"
    change_form_outer_before_template = "admin/requestlogs/requestrecord/story.html"
    empty_title = "No requests yet."
    empty_words = "Every request of a client is listed here, with the accounts that were asked and why."
    empty_link = ("admin:connect", "Connect a client")
    fieldsets = (
        (
            None,
            {"fields": ("request_id", "moment", "outcome", "status_code", "error_message")},
        ),
        (
            "Request",
            {"fields": ("account_name", "model", "reasoning_effort", "service_tier", "path", "way")},
        ),
        ("Client", {"fields": ("client", "client_address", "key", "talk")}),
        ("Figures", {"fields": ("first_token", "took", "tokens", "reasoning_tokens", "cost")}),
    )
    readonly_fields = (
        "moment",
        "outcome",
        "account_name",
        "key",
        "talk",
        "way",
        "first_token",
        "took",
        "tokens",
        "cost",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RequestRecord]:
        accounts = Account.objects.filter(pk=OuterRef("account_id"))
        name = accounts.values(name=Coalesce(NullIf(F("alias"), Value("")), F("email")))
        records: QuerySet[RequestRecord] = super().get_queryset(request)
        records = records.annotate(found_name=Subquery(name, output_field=CharField()), key_name=_key_name())
        before = request.GET.get(KeysetChangeList.parameter, "")
        return records.filter(pk__lt=int(before)) if before.isdecimal() and len(before) < 19 else records

    def get_urls(self) -> list[URLPattern]:
        export = self.admin_site.admin_view(self.export)
        urls: list[URLPattern] = super().get_urls()
        return [path("export/", export, name="requestlogs_requestrecord_export"), *urls]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # What the list is filtered to, without how far down it is read.
        conditions = request.GET.copy()
        conditions.pop(KeysetChangeList.parameter, None)
        context = {"views": _VIEWS, "query": conditions.urlencode(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def export(self, request: HttpRequest) -> StreamingHttpResponse:
        """What the list is filtered to, as a file."""
        rows = self.get_changelist_instance(request).get_queryset(request).order_by("-pk")
        audit.record("requests_exported", detail=request.GET.urlencode())
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
        context = {"record": record, **(extra_context or {})}
        if record is not None:
            names = {account.pk: account.display_name for account in Account.objects.all()}
            context["story"] = story(record, names, price_book())
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    @display(description="time")
    def time(self, record: RequestRecord) -> str:
        return time_cell(record.requested_at, timezone.now())

    @display(description="account")
    def account_name(self, record: RequestRecord) -> str:
        return str(getattr(record, "found_name", None) or record.account_id or UNKNOWN)

    @display(description="account, API key")
    def served(self, record: RequestRecord) -> str:
        return render_to_string(
            "admin/requestlogs/requestrecord/served.html",
            {"account": self.account_name(record), "key": self.key(record) if record.api_key_id else ""},
        )

    @display(description="status")
    def outcome(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/outcome.html", {"record": record})

    @display(description="first token")
    def first_token(self, record: RequestRecord) -> str:
        return _seconds(record.first_token_ms)

    @display(description="duration")
    def took(self, record: RequestRecord) -> str:
        return render_to_string(
            "admin/requestlogs/requestrecord/took.html",
            {"duration": _seconds(record.latency_ms), "rate": _tokens_per_second(record)},
        )

    @display(description="model, effort")
    def asked(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/asked.html", {"record": record})

    @display(description="transport")
    def way(self, record: RequestRecord) -> str:
        return _TRANSPORTS.get(record.transport, record.transport)

    @display(description="API key")
    def key(self, record: RequestRecord) -> str:
        if record.api_key_id is None:
            return UNKNOWN
        return str(getattr(record, "key_name", None) or f"no. {record.api_key_id}")

    @display(description="conversation")
    def talk(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/talk.html", {"record": record})

    @display(description="at")
    def moment(self, record: RequestRecord) -> str:
        return moment(record.requested_at, seconds=True)

    @display(description="tokens in (cached), out")
    def tokens(self, record: RequestRecord) -> str:
        return render_to_string("admin/requestlogs/requestrecord/tokens.html", {"record": record})

    @display(description="cost")
    def cost(self, record: RequestRecord) -> str:
        if record.cost_usd is None:
            return UNKNOWN
        return format_html('<span class="cp-number">${}</span>', f"{record.cost_usd:.4f}")


def _key_name() -> Case:
    named = [When(api_key_id=key_id, then=Value(name)) for key_id, name in key_names().items()]
    return Case(*named, default=Value(""), output_field=CharField())


def _seconds(milliseconds: int | None) -> str:
    return UNKNOWN if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def _tokens_per_second(record: RequestRecord) -> str:
    """While the answer came."""
    if not record.output_tokens or record.latency_ms is None or record.first_token_ms is None:
        return ""
    took_ms = record.latency_ms - record.first_token_ms
    return f"{1000 * record.output_tokens / took_ms:.0f} tokens/s" if took_ms >= _SHORTEST_MS else ""
