"""The settings form and the conversations that are kept on an account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.db.models import CharField, F, Field, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, NullIf
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from accounts.models import Account
from codexproxy.admin_base import ModelAdmin, display, time_cell
from proxy import firewall_admin, key_admin
from proxy.models import Settings, StickySession
from proxy.services import conversations_purge
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
                "description": "Which account serves a request. Capacity weighted is recommended: large and "
                "fresh accounts get more, and all of them last about equally long. Usage weighted keeps them "
                "equally used, whatever their size; round robin takes turns. Takes effect within 1 s, for "
                "conversations that begin after it.",
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
                "description": "Older request rows are removed by a background job, once an hour. "
                "What was asked and answered is kept nowhere, and no setting changes that.",
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


_PURGES = {"day": timedelta(days=1), "week": timedelta(days=7), "all": timedelta()}


@admin.register(StickySession)
class StickySessionAdmin(ModelAdmin):
    """Conversations and the accounts that they stay on. Deleting one takes it off, in every process."""

    list_display = ("name", "account", "recognised", "last_used", "begun")
    list_filter = ("derived",)
    counted = "conversations"
    empty_title = "No conversations yet."
    empty_words = "A conversation stays on the account that serves it, which keeps its prompt cache warm."
    empty_link = ("admin:connect", "Connect a client")
    search_fields = ("key", "account_id")
    ordering = ("-updated_at",)
    list_fullwidth = True
    change_list_template = "admin/proxy/stickysession/list.html"
    change_form_outer_before_template = "admin/proxy/stickysession/cache.html"
    fields = readonly_fields = ("key", "account", "recognised", "last_used", "begun")

    def get_queryset(self, request: HttpRequest) -> QuerySet[StickySession]:
        names = Account.objects.filter(pk=OuterRef("account_id")).values(
            name=Coalesce(NullIf(F("alias"), Value("")), F("email"))
        )
        kept: QuerySet[StickySession] = super().get_queryset(request).exclude(account_id="")
        return kept.annotate(account_name=Subquery(names, output_field=CharField()))

    @display(description="conversation", ordering="key")
    def name(self, row: StickySession) -> str:
        return row.key if len(row.key) <= 48 else f"{row.key[:47]}…"

    @display(description="account")
    def account(self, row: StickySession) -> str:
        return str(getattr(row, "account_name", None) or row.account_id)

    @display(description="recognised by", ordering="derived")
    def recognised(self, row: StickySession) -> str:
        return "how it begins" if row.derived else "its client's id"

    @display(description="last request", ordering="updated_at")
    def last_used(self, row: StickySession) -> str:
        return time_cell(row.updated_at, timezone.now())

    @display(description="since", ordering="created_at")
    def begun(self, row: StickySession) -> str:
        return time_cell(row.created_at, timezone.now())

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.purge))
        urls: list[URLPattern] = super().get_urls()
        return [path("purge/", view, name="proxy_stickysession_purge"), *urls]

    def purge(self, request: HttpRequest) -> HttpResponse:
        """All that were not used for a while, or all there are."""
        length = _PURGES.get(request.POST.get("older_than", ""))
        if length is None:
            self.message_user(request, "Choose which conversations are meant.", messages.ERROR)
        else:
            rows = StickySession.objects.filter(updated_at__lte=timezone.now() - length)
            count = conversations_purge(rows)
            words = f"{count} conversation{'' if count == 1 else 's'} taken off their accounts."
            self.message_user(request, words, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:proxy_stickysession_changelist"))

    def has_change_permission(self, request: HttpRequest, obj: StickySession | None = None) -> bool:
        return False

    def delete_model(self, request: HttpRequest, obj: StickySession) -> None:
        conversations_purge(StickySession.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[StickySession]) -> None:
        conversations_purge(StickySession.objects.filter(pk__in=list(queryset.values_list("pk", flat=True))))

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
    names = {pk: alias or email for pk, alias, email in Account.objects.values_list("pk", "alias", "email")}
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
