"""The pages of API keys. A key is shown once, on the page that follows its making, and never again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from codexproxy.admin_base import UNKNOWN, ModelAdmin, TabularInline, action, display, time_cell
from proxy.client_snippets import base_url_of, lines_for_clients
from proxy.key_forms import FIELDS, ApiKeyForm, LimitForm, LimitFormSet
from proxy.key_selectors import keys_with_use, limit_views
from proxy.key_services import (
    NewKey,
    api_key_create,
    api_key_delete,
    api_key_regenerate,
    api_key_update,
    limits_replace,
)
from proxy.models import ApiKey, ApiKeyLimit
from proxy.self_service import Meter


class LimitInline(TabularInline):
    model = ApiKeyLimit
    form = LimitForm
    formset = LimitFormSet
    fields = ("kind", "window", "model", "amount", "meter")
    readonly_fields = ("meter",)
    # An empty row would come back half filled in: its choices begin with their first one.
    extra = 0
    hide_title = True
    verbose_name_plural = "Limits"

    @display(description="used")
    def meter(self, limit: ApiKeyLimit) -> str:
        return meters([limit]) if limit.pk else UNKNOWN


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    form = ApiKeyForm
    list_display = ("name", "shown", "state", "models", "limits", "last_used", "expires", "buttons")
    empty_title = "No API keys yet."
    empty_words = "A key lets a program in from anywhere, within limits. On this machine none is needed."
    add_words = "Add API key"
    list_filter = ("enabled",)
    search_fields = ("name", "note", "prefix")
    list_fullwidth = True
    actions = ("enable_selected", "disable_selected")
    inlines = (LimitInline,)
    fieldsets = (
        (None, {"fields": ("name", "note", "enabled", "expires_at")}),
        (
            "What it may ask",
            {
                "fields": (
                    "allowed_models",
                    "enforced_model",
                    "enforced_effort",
                    "allowed_efforts",
                    "enforced_tier",
                    "max_parallel",
                )
            },
        ),
        ("Which accounts serve it", {"fields": ("is_bound", "account_ids", "group_ids")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApiKey]:
        return keys_with_use()

    # --- the list -----------------------------------------------------------------------------

    @display(description="key")
    def shown(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @display(description="status", ordering="enabled")
    def state(self, key: ApiKey) -> str:
        words, level = "active", "active"
        if not key.enabled:
            words, level = "disabled", "deactivated"
        elif key.has_expired(timezone.now()):
            words, level = "expired", "rate_limited"
        return render_to_string("admin/proxy/apikey/state.html", {"words": words, "level": level})

    @display(description="models")
    def models(self, key: ApiKey) -> str:
        return key.enforced_model or ", ".join(key.allowed_models) or "all"

    @display(description="limits")
    def limits(self, key: ApiKey) -> str:
        return meters(list(key.limits.all())) or "none"

    @display(description="last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> str:
        return time_cell(getattr(key, "last_used_at", None), timezone.now())

    @display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> str:
        return time_cell(key.expires_at, timezone.now()) if key.expires_at else "never"

    @display(description="actions")
    def buttons(self, key: ApiKey) -> str:
        def url(verb: str) -> str:
            return reverse("admin:proxy_apikey_do", args=[quote(str(key.pk)), verb])

        context = {
            "key": key,
            "toggle_url": url("disable" if key.enabled else "enable"),
            "toggle_words": "Disable" if key.enabled else "Enable",
            "renew_url": url("renew"),
        }
        return render_to_string("admin/proxy/apikey/buttons.html", context)

    # --- buttons and actions ------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.act))
        own = [path("<path:object_id>/do/<slug:verb>/", view, name="proxy_apikey_do")]
        urls: list[URLPattern] = super().get_urls()
        return own + urls

    def act(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """One button of one key. SECURITY: a POST with Django's token, as for accounts."""
        key = self.get_object(request, unquote(object_id))
        if verb not in (*_VERBS, "renew"):
            raise Http404
        try:
            if key is None:
                raise ApiKey.DoesNotExist
            if verb == "renew":
                return self._shown_once(request, api_key_regenerate(key_id=key.pk))
            self._act_on(request, [key], verb)
        except ApiKey.DoesNotExist:
            # RACE: it may also be deleted after it was looked up.
            self.message_user(request, "This API key is gone.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:proxy_apikey_changelist"))

    def _act_on(self, request: HttpRequest, keys: list[ApiKey], verb: str) -> None:
        words, do = _VERBS[verb]
        for key in keys:
            do(key.pk)
        self.message_user(request, f"{words}: {', '.join(key.name for key in keys)}", messages.SUCCESS)

    @action(description="Enable")
    def enable_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self._act_on(request, list(queryset), "enable")

    @action(description="Disable")
    def disable_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self._act_on(request, list(queryset), "disable")

    # --- the form -----------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: ApiKey, form: ModelForm[Any], change: bool) -> None:
        if change:
            changed = {name: form.cleaned_data[name] for name in form.changed_data if name in FIELDS}
            if changed:
                api_key_update(key_id=obj.pk, **changed)
            return
        made = api_key_create(**{name: form.cleaned_data[name] for name in FIELDS})
        obj.pk = made.key.pk
        # For the page that follows; the row has no such column.
        obj.plain = made.plain  # type: ignore[attr-defined]

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        rules = [rule for formset in formsets for rule in formset.rules()]
        for formset in formsets:
            # What the log of changes asks for; the service has done the work.
            formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []
        limits_replace(key=ApiKey.objects.get(pk=form.instance.pk), rules=rules)

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        plain: str = getattr(obj, "plain", "")
        return self._shown_once(request, NewKey(ApiKey.objects.get(pk=obj.pk), plain))

    def _shown_once(self, request: HttpRequest, made: NewKey) -> HttpResponse:
        """SECURITY: in the answer itself and not behind a redirect, so that no session has to keep it."""
        base_url = base_url_of(request)
        context = {
            **self.admin_site.each_context(request),
            "title": "Your new API key",
            "opts": self.opts,
            "key": made.key,
            "plain": made.plain,
            "base_url": base_url,
            "clients": lines_for_clients(base_url, made.plain),
        }
        response = TemplateResponse(request, "admin/proxy/apikey/created.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def delete_model(self, request: HttpRequest, obj: ApiKey) -> None:
        api_key_delete(key_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key_id in list(queryset.values_list("pk", flat=True)):
            api_key_delete(key_id=key_id)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        names = [f"{key.name} ({key.prefix}…) and its limits; its request records stay" for key in objs]
        return names, {"API keys": len(names)}, set(), []


def meters(limits: list[ApiKeyLimit]) -> str:
    views = [Meter(view) for view in limit_views(limits, timezone.now())]
    return render_to_string("admin/proxy/apikey/meters.html", {"meters": views}) if views else ""


_VERBS: dict[str, tuple[str, Callable[[int], object]]] = {
    "enable": ("Enabled", lambda key_id: api_key_update(key_id=key_id, enabled=True)),
    "disable": ("Disabled", lambda key_id: api_key_update(key_id=key_id, enabled=False)),
}
