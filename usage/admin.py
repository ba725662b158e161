"""The page of prices: what every model costs, and the prices that the operator has set instead."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode

from codexproxy.admin_base import UNKNOWN, ModelAdmin
from usage.models import PriceOverride
from usage.price_services import PriceExists, price_add, price_change, price_remove
from usage.pricing import LONG_CONTEXT_TOKENS, PUBLISHED_ON, TIERS, PriceRow, Rates
from usage.selectors import price_book


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = PriceOverride
        fields = ("model", "tier", "input", "cached", "output")

    def clean_model(self) -> str:
        # Before the check for a second one: names are compared in lower case.
        return str(self.cleaned_data["model"]).strip().lower()


@admin.register(PriceOverride)
class PriceOverrideAdmin(ModelAdmin):
    form = PriceForm
    list_display = ("model", "tier", "input", "cached", "output", "updated_at")
    counted = "prices of your own"
    empty_title = "No prices of your own."
    empty_words = "The published prices below hold. One of your own takes the place of a published one."
    add_words = "Add price"
    ordering = ("model", "tier")
    change_list_template = "admin/usage/priceoverride/list.html"

    def get_readonly_fields(self, request: HttpRequest, obj: PriceOverride | None = None) -> tuple[str, ...]:
        return () if obj is None else ("model", "tier")

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            "published_on": PUBLISHED_ON,
            "long_context_tokens": f"{LONG_CONTEXT_TOKENS:,}",
            "tiers": PriceOverride.Tier.labels,
            "rows": [_row(row) for row in price_book().table()],
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except (PriceExists, PriceOverride.DoesNotExist):
            # Somebody else was faster.
            messages.error(request, "This price has been changed meanwhile. Look at it, and try again.")
            return HttpResponseRedirect(reverse("admin:usage_priceoverride_changelist"))

    def save_model(self, request: HttpRequest, obj: PriceOverride, form: Any, change: bool) -> None:
        if change:
            price_change(price_id=obj.pk, input=obj.input, cached=obj.cached, output=obj.output)
            return
        added = price_add(
            model=obj.model, tier=obj.tier, input=obj.input, cached=obj.cached, output=obj.output
        )
        obj.pk = added.pk

    def delete_model(self, request: HttpRequest, obj: PriceOverride) -> None:
        price_remove(price_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[PriceOverride]) -> None:
        for price in queryset:
            price_remove(price_id=price.pk)


def _row(row: PriceRow) -> dict[str, Any]:
    return {
        "model": row.model,
        "cells": [
            {
                "words": _words(row.rates.get(tier)),
                "is_own": tier in row.own,
                "url": None if tier in row.own else _add_url(row.model, tier, row.rates.get(tier)),
            }
            for tier in TIERS
        ],
    }


def _words(rates: Rates | None) -> str:
    if rates is None:
        return UNKNOWN
    return " / ".join(_plain(value) for value in (rates.input, rates.cached, rates.output))


def _plain(value: Decimal) -> str:
    return f"{value:f}".rstrip("0").rstrip(".") if value % 1 else f"{value:.0f}"


def _add_url(model: str, tier: str, rates: Rates | None) -> str:
    """The form with what holds now, to be changed."""
    given = {"model": model, "tier": tier}
    if rates is not None:
        given |= {name: _plain(getattr(rates, name)) for name in ("input", "cached", "output")}
    return f"{reverse('admin:usage_priceoverride_add')}?{urlencode(given)}"
