"""The settings form and the conversations that are kept on an account."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from codexproxy.admin_base import ModelAdmin
from proxy import firewall_admin, key_admin
from proxy.models import Settings, StickySession
from proxy.settings_services import settings_get, settings_update

# Django looks for this module only; the pages of the others are registered by being imported.
__all__ = ["firewall_admin", "key_admin"]


@admin.register(Settings)
class SettingsAdmin(ModelAdmin):
    fieldsets = (
        (
            "Routing",
            {
                "fields": ("routing_strategy", "prefer_earlier_reset", "affinity_enabled"),
                "description": "Which account serves a request. A change holds within two seconds, "
                "for conversations that begin after it.",
            },
        ),
        (
            "Access",
            {
                "fields": ("key_auth_required",),
                "description": "Who may use the pool. Keys are made under API keys.",
            },
        ),
        (
            "Data",
            {
                "fields": ("retention_days",),
                "description": "Older request rows are removed by a background job.",
            },
        ),
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Settings | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is one row, so the list is skipped."""
        row = settings_get()
        return HttpResponseRedirect(reverse("admin:proxy_settings_change", args=[row.pk]))

    def save_model(self, request: HttpRequest, obj: Settings, form: ModelForm[Any], change: bool) -> None:
        settings_update(**{name: form.cleaned_data[name] for name in form.changed_data})


@admin.register(StickySession)
class StickySessionAdmin(ModelAdmin):
    list_display = ("key", "account_id", "derived", "created_at", "updated_at")
    list_filter = ("derived",)
    search_fields = ("key", "account_id")
    ordering = ("-updated_at",)
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: StickySession | None = None) -> bool:
        return False
