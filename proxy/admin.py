"""The settings form and the conversations that are kept on an account."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.db.models import Field
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.models import Account
from codexproxy.admin_base import ModelAdmin
from proxy import firewall_admin, key_admin
from proxy.models import Settings, StickySession
from proxy.settings_services import check_locks, settings_get, settings_update
from requestlogs.prompt_cache import hit_rate, lost_usd, switches
from requestlogs.selectors import conversation_turns
from usage.selectors import price_book

# Django looks for this module only; the pages of the others are registered by being imported.
__all__ = ["firewall_admin", "key_admin"]


class SettingsForm(ModelForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        check_locks({name: cleaned.get(name) for name in self.changed_data})
        return cleaned


@admin.register(Settings)
class SettingsAdmin(ModelAdmin):
    form = SettingsForm
    fieldsets = (
        (
            "Routing",
            {
                "fields": ("routing_strategy", "prefer_earlier_reset"),
                "description": "Which account serves a request. Takes effect within 1 s, for conversations "
                "that begin after it.",
            },
        ),
        (
            "Sessions",
            {
                "fields": ("affinity_enabled", "conversation_affinity_days", "derived_affinity_minutes"),
                "description": "Whether and how long a conversation stays with its account. Takes effect "
                "within 1 s.",
            },
        ),
        (
            "Limits & timeouts",
            {
                "fields": ("upstream_silence_s",),
                "description": "Takes effect within 1 s, for requests that begin after it.",
            },
        ),
        (
            "Clients",
            {
                "fields": ("public_base_url",),
                "description": "What the snippets for clients are filled with. Takes effect at once.",
            },
        ),
        (
            "Security",
            {
                "fields": ("require_password", "require_totp", "session_hours"),
                "description": "Who may open the dashboard. Takes effect at once, in every process.",
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
                "description": "Older request rows are removed by a background job, once an hour.",
            },
        ),
    )

    def formfield_for_dbfield(self, db_field: Field[Any, Any], request: HttpRequest, **kwargs: Any) -> Any:
        """With its default, so that one can find back."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.help_text = f"{field.help_text} Default: {_default_words(db_field)}.".strip()
        return field

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


def _default_words(field: Field[Any, Any]) -> str:
    default = field.get_default()
    if isinstance(default, bool):
        return "on" if default else "off"
    if field.flatchoices:
        default = dict(field.flatchoices)[default]
    return str(default) if default != "" else "empty"


@admin.register(StickySession)
class StickySessionAdmin(ModelAdmin):
    list_display = ("key", "account_id", "derived", "created_at", "updated_at")
    list_filter = ("derived",)
    search_fields = ("key", "account_id")
    ordering = ("-updated_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: StickySession | None = None) -> bool:
        return False

    change_form_outer_after_template = "admin/proxy/stickysession/cache.html"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**cache_story(unquote(object_id)), **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)


def cache_story(conversation: str) -> dict[str, Any]:
    """How much came from the prompt cache, and what each change of account has cost of it."""
    turns = conversation_turns(conversation)
    names = dict(Account.objects.values_list("pk", "alias"))
    prices = price_book()
    rate = hit_rate(turns)
    return {
        "turns": len(turns),
        "hit_rate": None if rate is None else round(100 * rate),
        "switches": [
            {
                "at": switch.turn.at,
                "from": names.get(switch.from_account) or switch.from_account,
                "to": names.get(switch.turn.account_id) or switch.turn.account_id,
                "cause": switch.cause,
                "tokens": switch.lost_tokens,
                "cost": lost_usd(switch, prices),
            }
            for switch in switches(turns)
        ],
    }
