"""The routing explainer: which account would serve a request now, and why every other one would not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from codexproxy.admin_base import UNKNOWN, duration_words
from proxy.explain import Explanation, Verdict, explained
from proxy.routing import Ask, Window
from proxy.runtime import pool_now
from proxy.selectors import remembered_conversation
from proxy.settings_services import settings_get
from proxy.strategies import STRATEGIES


class ExplainForm(forms.Form):
    """What a request would be."""

    model = forms.CharField(required=False, help_text="Such as gpt-5.5; empty for any.")
    conversation = forms.CharField(
        required=False, help_text="A conversation's id, to see whether it is kept on an account."
    )
    strategy = forms.ChoiceField(required=False, choices=[(name, name) for name in STRATEGIES])


def explain_page(request: HttpRequest) -> HttpResponse:
    settings = settings_get()
    given = {"strategy": settings.routing_strategy, **request.GET.dict()}
    form = ExplainForm(given)
    form.is_valid()
    asked = form.cleaned_data
    now = timezone.now()
    candidates, plans_without = pool_now(asked.get("model", ""))
    entry = remembered_conversation(asked["conversation"]) if asked.get("conversation") else None
    ask = Ask(
        model=asked.get("model", ""),
        affinity=entry.account_id if entry is not None and settings.affinity_enabled else None,
        plans_without_model=plans_without,
        strategy=asked.get("strategy") or settings.routing_strategy,
        prefer_earlier_reset=settings.prefer_earlier_reset,
    )
    explanation = explained(candidates, ask, now.timestamp())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Routing explainer",
        "form": form,
        "explanation": explanation,
        "rows": [_row(verdict, now) for verdict in explanation.verdicts],
        "sentence": _sentence(explanation),
    }
    return TemplateResponse(request, "admin/explain.html", context)


def _row(verdict: Verdict, now: datetime) -> dict[str, str]:
    candidate = verdict.candidate
    until = datetime.fromtimestamp(verdict.until, UTC) if verdict.until else None
    return {
        "label": candidate.label,
        "plan": candidate.plan_type,
        "share": f"{verdict.share_percent:.0f} %" if verdict.is_able else UNKNOWN,
        "verdict": "can serve" if verdict.is_able else verdict.reason,
        "until": f"for another {duration_words(until - now)}" if until is not None else "",
        "primary": _used(candidate.primary, now),
        "secondary": _used(candidate.secondary, now),
        "in_flight": str(candidate.in_flight),
    }


def _used(window: Window | None, now: datetime) -> str:
    percent = window.known_percent(now.timestamp()) if window is not None else None
    return UNKNOWN if percent is None else f"{percent:.0f} %"


def _sentence(explanation: Explanation) -> str:
    likeliest = explanation.likeliest
    if likeliest is None:
        return "Nobody can serve such a request now." if explanation.verdicts else "There is no account yet."
    if likeliest.share_percent > 99.9:
        return f"{likeliest.candidate.label} serves it: {explanation.why}."
    return f"{likeliest.candidate.label} is the likeliest to serve it: {explanation.why}."
