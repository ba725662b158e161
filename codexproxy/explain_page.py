"""The routing explainer: which account would serve a request now, and why every other one would not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from codexproxy.admin_base import UNKNOWN, duration_words
from proxy.explain import Explanation, Verdict, explained
from proxy.key_selectors import key_view
from proxy.keys import KeyView
from proxy.models import ApiKey, Settings, Strategy
from proxy.routing import Ask, Window
from proxy.runtime import catch_up, pool_now
from proxy.selectors import remembered_conversation
from proxy.settings_services import settings_get
from requestlogs.selectors import recent_models


def _text(list_id: str) -> forms.TextInput:
    """With suggestions that the page holds."""
    return forms.TextInput({"list": list_id})


class ExplainForm(forms.Form):
    """What a request would be."""

    model = forms.CharField(
        required=False, max_length=120, help_text="Such as gpt-5.5; empty for any.", widget=_text("models")
    )
    key = forms.ModelChoiceField(
        ApiKey.objects.order_by("name"), required=False, label="API key", empty_label="none",
        help_text="It may be bound to some accounts, or to a model.",
    )  # fmt: skip
    conversation = forms.CharField(
        required=False, max_length=200, help_text="Its id, to see whether it is kept on an account."
    )
    strategy = forms.ChoiceField(
        required=False, choices=Strategy.choices, help_text="The one in force is chosen already."
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request as its key and its conversation make it; `notes` say so."""

    ask: Ask
    model: str
    notes: tuple[str, ...]
    refused: str = ""


def explain_page(request: HttpRequest) -> HttpResponse:
    settings = settings_get()
    form = ExplainForm({"strategy": settings.routing_strategy, **request.GET.dict()})
    form.is_valid()
    now = timezone.now()
    asked = _asked(form.cleaned_data, settings, now)
    catch_up()
    candidates, plans_without = pool_now(asked.model)
    ask = replace(asked.ask, plans_without_model=plans_without)
    explanation = explained(candidates, ask, now.timestamp())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Routing explainer",
        "form": form,
        "models": recent_models(),
        "explanation": explanation,
        "rows": [] if asked.refused else [_row(verdict, now) for verdict in explanation.verdicts],
        "has_accounts": bool(explanation.verdicts),
        "notes": asked.notes,
        "sentence": asked.refused or _sentence(explanation, ask),
    }
    return TemplateResponse(request, "admin/explain.html", context)


def _asked(given: dict[str, Any], settings: Settings, now: datetime) -> _Asked:
    model, notes, refused = given.get("model", ""), [], ""
    key = key_view(given["key"].pk) if given.get("key") else None
    if key is not None:
        refused = refusal_words(key, model, now)
        if key.enforced_model and key.enforced_model != model:
            model = key.enforced_model
            notes.append(f"This key asks for {model}, whatever a request names.")
        if key.accounts is not None:
            notes.append("This key is bound to some accounts.")
    affinity = None
    if conversation := given.get("conversation"):
        entry = remembered_conversation(conversation)
        affinity = entry.account_id if entry is not None and settings.affinity_enabled else None
        notes.append(_conversation_words(is_known=entry is not None, is_kept=affinity is not None))
    ask = Ask(
        model=model,
        affinity=affinity,
        accounts=key.accounts if key else None,
        strategy=given.get("strategy") or settings.routing_strategy,
        prefer_earlier_reset=settings.prefer_earlier_reset,
    )
    return _Asked(ask, model, tuple(notes), refused)


def refusal_words(key: KeyView, model: str, now: datetime) -> str:
    """Why a request with this key ends before any account is looked at; "" when it does not."""
    if not key.enabled:
        return "This key is disabled: a request with it is refused before any account is asked."
    if key.expires_at is not None and key.expires_at <= now.timestamp():
        return "This key has expired: a request with it is refused before any account is asked."
    wanted = key.enforced_model or model
    if wanted and not key.allows_model(wanted):
        return f"This key may not ask for {wanted}: such a request is refused before any account is asked."
    return ""


def _conversation_words(*, is_known: bool, is_kept: bool) -> str:
    if is_kept:
        return "This conversation is kept on an account, as long as that one can serve."
    if is_known:
        return "This conversation is known, but conversations are not kept on accounts (see the settings)."
    return "This conversation is not known: it is treated as a new one."


def _row(verdict: Verdict, now: datetime) -> dict[str, Any]:
    candidate = verdict.candidate
    until = datetime.fromtimestamp(verdict.until, UTC) if verdict.until else None
    return {
        "label": candidate.label,
        "plan": candidate.plan_type,
        "share": f"{verdict.share_percent:.0f} %" if verdict.is_able else UNKNOWN,
        "is_able": verdict.is_able,
        "chance": round(verdict.share_percent),
        "verdict": "can serve" if verdict.is_able else verdict.reason,
        "until_at": until,
        "until": f"for another {duration_words(until - now)}" if until is not None else "",
        "primary": _used(candidate.primary, now),
        "secondary": _used(candidate.secondary, now),
        "in_flight": str(candidate.in_flight),
    }


def _used(window: Window | None, now: datetime) -> str:
    percent = window.known_percent(now.timestamp()) if window is not None else None
    return UNKNOWN if percent is None else f"{percent:.0f} %"


def _sentence(explanation: Explanation, ask: Ask) -> str:
    likeliest = explanation.likeliest
    name = Strategy(ask.strategy).label.partition(":")[0].lower()
    why = explanation.why.replace(ask.strategy, f"“{name}”")
    if likeliest is None:
        return "Nobody can serve such a request now." if explanation.verdicts else "There is no account yet."
    if likeliest.share_percent > 99.9:
        return f"{likeliest.candidate.label} serves it: {why}."
    return f"{likeliest.candidate.label} is the likeliest to serve it: {why}."
