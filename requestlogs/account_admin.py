"""The accounts' pages with what their requests tell: when each was used last, and which had failures.

The accounts themselves know nothing of requests, so that their pages are extended from here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils import timezone

from accounts.admin import AccountAdmin
from accounts.models import Account
from codexproxy.admin_base import display, time_cell
from requestlogs.figures import hours_since
from requestlogs.models import RequestRecord

_DAY = timedelta(days=1)


class ErrorFilter(admin.SimpleListFilter):
    """From the sums of whole hours: no request is looked at."""

    title = "failed requests, 24 h"
    parameter_name = "errors"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "some"), ("no", "none")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        if self.value() not in ("yes", "no"):
            return queryset
        failed = hours_since(timezone.now() - _DAY).filter(errors__gt=0).values("account_id")
        return queryset.filter(pk__in=failed) if self.value() == "yes" else queryset.exclude(pk__in=failed)


class AccountWithRequestsAdmin(AccountAdmin):
    # The end of the token shares the column of the last use: with both, the buttons were out of sight.
    list_display = tuple(
        "last_used" if name == "token_expiry" else name for name in AccountAdmin.list_display
    )
    list_filter = (*AccountAdmin.list_filter, ErrorFilter)
    change_form_outer_after_template = "admin/accounts/account/requests.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        # One look into the index of its requests for each account, all in the list's own query.
        own = RequestRecord.objects.filter(account_id=OuterRef("pk")).order_by("-requested_at")
        return super().get_queryset(request).annotate(used_at=Subquery(own.values("requested_at")[:1]))

    @display(description="last used", ordering="used_at")
    def last_used(self, account: Account) -> str:
        used = time_cell(getattr(account, "used_at", None), timezone.now())
        context = {"used": used, "ends": self.token_expiry(account)}
        return render_to_string("admin/accounts/account/last_used.html", context)


admin.site.unregister(Account)
admin.site.register(Account, AccountWithRequestsAdmin)
