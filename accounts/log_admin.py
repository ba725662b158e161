"""Lists of what happened: to accounts, by whom, and in the background."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from accounts.models import AccountEvent, AuditEvent, JobRun
from codexproxy.admin_base import ReadOnlyModelAdmin, display, duration_words, moment, time_cell


@admin.register(AccountEvent)
class AccountEventAdmin(ReadOnlyModelAdmin):
    """What happened to all accounts, newest first."""

    list_display = ("moment", "whose", "kind", "detail")
    list_filter = ("kind", ("account", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("account",)
    list_fullwidth = True
    search_fields = ("account__email", "account__alias", "detail")
    ordering = ("-at", "-pk")
    show_full_result_count = False
    empty_title = "Nothing has happened yet."
    empty_words = "Limits, sign-ins, refusals and pauses of every account are listed here, with their causes."
    empty_link = ("admin:accounts_account_changelist", "Accounts")

    @display(description="at", ordering="at")
    def moment(self, event: AccountEvent) -> str:
        return moment(event.at, seconds=True)

    @display(description="account", ordering="account__email")
    def whose(self, event: AccountEvent) -> str:
        url = reverse("admin:accounts_account_change", args=[quote(event.account_id)])
        return format_html('<a class="cp-link" href="{}">{}</a>', url, event.account)


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyModelAdmin):
    list_display = ("moment", "actor", "address", "action", "subject", "detail")
    counted = "entries"
    empty_title = "Nobody has changed anything yet."
    empty_words = "Whatever is changed, signed in to or handed out is written down here, with who did it."
    list_filter = ("action", "actor")
    list_fullwidth = True
    search_fields = ("actor", "address", "subject", "detail")
    ordering = ("-at", "-pk")

    @display(description="at", ordering="at")
    def moment(self, event: AuditEvent) -> str:
        return moment(event.at, seconds=True)


@admin.register(JobRun)
class JobRunAdmin(ReadOnlyModelAdmin):
    list_display = ("name", "started", "took", "error")
    counted = "jobs"
    empty_title = "No job has run yet."
    empty_words = "Reading usage, renewing tokens, tidying up: the last run of each job is here."
    ordering = ("name",)

    @display(description="last run", ordering="started_at")
    def started(self, run: JobRun) -> str:
        return time_cell(run.started_at, timezone.now())

    @display(description="took")
    def took(self, run: JobRun) -> str:
        if run.ended_at is None or run.ended_at < run.started_at:
            return "runs now"
        return duration_words(run.ended_at - run.started_at)
