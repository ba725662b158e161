"""Whether one account serves: a small request on it, step by step."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from accounts.models import Account
from proxy.probe import TIMEOUT_S, Step, probe
from proxy.runtime import NotServing, in_runtime
from requestlogs.models import RequestRecord

DEFAULT_MODEL = "gpt-5.5"
# The probe's own limit, and what reading the accounts before it takes.
_PATIENCE_S = TIMEOUT_S + 10.0


class ProbeForm(forms.Form):
    model = forms.CharField(max_length=120, help_text="A model that the account's plan has.")


def probe_page(request: HttpRequest, object_id: str) -> HttpResponse:
    account = Account.objects.filter(pk=unquote(object_id)).first()
    if account is None:
        messages.warning(request, "This account is gone.")
        return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))
    form = ProbeForm(request.POST or None, initial={"model": _known_model(account)})
    steps: list[Step] = []
    if request.method == "POST" and form.is_valid():
        steps = _steps(account.pk, form.cleaned_data["model"].strip())
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": f"Probe {account.display_name}",
        "account": account,
        "form": form,
        "steps": steps,
        "serves": bool(steps) and all(step.is_ok for step in steps if step.about == "Answer"),
    }
    return TemplateResponse(request, "admin/probe.html", context)


def _steps(account_id: str, model: str) -> list[Step]:
    try:
        return in_runtime(partial(probe, account_id=account_id, model=model), _PATIENCE_S)
    except NotServing:
        return [Step(False, "Answer", "This process does not serve clients: start it with manage.py serve.")]
    except TimeoutError:
        return [Step(False, "Answer", f"There was none within {_PATIENCE_S:.0f} s.")]


def _known_model(account: Account) -> str:
    """What the account has answered last."""
    rows = RequestRecord.objects.filter(account_id=account.pk).exclude(model="").order_by("-requested_at")
    return rows.values_list("model", flat=True).first() or DEFAULT_MODEL
