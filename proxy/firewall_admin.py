"""The firewall's page: what it does now, its list, and whom it refused."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone

from codexproxy.admin_base import ModelAdmin, time_cell
from codexproxy.locality import Address, facts_from_pairs, resolve_client
from proxy.firewall import InvalidEntry, entry_text, parse_entry, shuts_out
from proxy.firewall_services import (
    EntryExists,
    firewall_add,
    firewall_networks,
    firewall_note,
    firewall_refusals,
    firewall_remove,
)
from proxy.models import FirewallEntry
from proxy.settings_services import settings_get


class EntryForm(forms.Form):
    """`confirmed` is asked for when the list would shut out whoever fills in the form."""

    network = forms.CharField(label="Address or network", max_length=64)
    note = forms.CharField(required=False, max_length=200)
    confirmed = forms.BooleanField(required=False, label="I know that this shuts out my own address")

    def __init__(self, *args: Any, client: Address | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = client

    def clean_network(self) -> str:
        try:
            return entry_text(parse_entry(self.cleaned_data["network"]))
        except InvalidEntry as error:
            raise forms.ValidationError(str(error)) from error

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        network = cleaned.get("network")
        if network and not cleaned.get("confirmed"):
            after = [*firewall_networks(), parse_entry(network)]
            if shuts_out(self._client, after) and not shuts_out(self._client, firewall_networks()):
                self.add_error(
                    "confirmed",
                    f"Programs at your own address ({self._client or 'unknown'}) could not connect any more. "
                    "Add that address first, or confirm.",
                )
        return cleaned


@admin.register(FirewallEntry)
class FirewallEntryAdmin(ModelAdmin):
    list_display = ("network", "note", "created_at")
    counted = "addresses and networks"
    empty_title = "The list is empty: every address may connect."
    empty_words = "With the first entry, only the addresses and networks on the list may."
    add_words = "Add address or network"
    fields = ("network", "note", "created_at")
    readonly_fields = ("network", "created_at")
    change_list_template = "admin/proxy/firewallentry/list.html"

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        client = client_of(request)
        now = timezone.now()
        refused = [(row, time_cell(row.last_at, now)) for row in firewall_refusals()]
        context = {
            "mode": _mode(FirewallEntry.objects.count()),
            "client": client,
            "is_admitted": not shuts_out(client, firewall_networks()),
            "is_listed": bool(firewall_networks()),
            "proxies": ", ".join(str(network) for network in settings.TRUSTED_PROXIES),
            "refused": refused,
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        client = client_of(request)
        given = {"network": request.GET.get("network", "")}
        is_sent = request.method == "POST"
        form = EntryForm(request.POST, client=client) if is_sent else EntryForm(client=client, initial=given)
        if is_sent and form.is_valid() and self._added(request, form):
            return HttpResponseRedirect(reverse("admin:proxy_firewallentry_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": "Let an address in",
            "opts": self.opts,
            "form": form,
            "client": client,
            "asks_to_confirm": "confirmed" in form.errors,
        }
        return TemplateResponse(request, "admin/proxy/firewallentry/add.html", context)

    def _added(self, request: HttpRequest, form: EntryForm) -> bool:
        try:
            entry = firewall_add(text=form.cleaned_data["network"], note=form.cleaned_data["note"])
        except EntryExists as error:
            form.add_error("network", f"{error} is on the list already.")
            return False
        self.message_user(request, f"{entry.network} may connect.", messages.SUCCESS)
        return True

    def save_model(self, request: HttpRequest, obj: FirewallEntry, form: Any, change: bool) -> None:
        firewall_note(entry_id=obj.pk, note=form.cleaned_data["note"])

    def delete_model(self, request: HttpRequest, obj: FirewallEntry) -> None:
        firewall_remove(network=obj.network)
        self._warn(request)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[FirewallEntry]) -> None:
        for entry in queryset:
            firewall_remove(network=entry.network)
        self._warn(request)

    def _warn(self, request: HttpRequest) -> None:
        """Taking an entry off may shut out too, and the page says so at once; it stays reachable."""
        client = client_of(request)
        if shuts_out(client, firewall_networks()):
            words = f"Programs at your own address ({client or 'unknown'}) cannot connect now."
            self.message_user(request, words, messages.WARNING)


def client_of(request: HttpRequest) -> Address | None:
    facts = facts_from_pairs(request.META.get("REMOTE_ADDR"), request.headers.items())
    return resolve_client(facts, settings.TRUSTED_PROXIES)


def _mode(entries: int) -> str:
    keys_only = settings_get().key_auth_required
    if not entries:
        who = "Everyone who has an API key may connect"
        return f"{who}." if keys_only else f"{who}, and programs on this machine without one."
    who = "this one address or network" if entries == 1 else f"these {entries} addresses and networks"
    return f"Only {who} may connect, " + (
        "and only with an API key." if keys_only else "with or without an API key."
    )
