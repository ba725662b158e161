"""Connect a client: ready snippets for each one, and a tick when its first request arrives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.utils import timezone

from proxy.client_snippets import base_url_of, lines_for_clients
from proxy.models import ApiKey
from proxy.probe import CLIENT as PROBE
from proxy.settings_services import settings_get
from requestlogs.models import RequestRecord

# What stands where a key goes while none is needed.
ANY_KEY = "any-key"
_LARGEST = 2**63 - 1


class ChooseKeyForm(forms.Form):
    key = forms.ModelChoiceField(
        ApiKey.objects.filter(enabled=True).order_by("name"), required=False, label="API key",
        empty_label="any", help_text="Whose first request is waited for.",
    )  # fmt: skip


class ArrivalForm(forms.Form):
    """What the page waits for: `key` is the id of one, and `seen` that of the request that it shows."""

    since = forms.FloatField(required=False)
    key = forms.IntegerField(required=False, max_value=_LARGEST)
    seen = forms.IntegerField(required=False, max_value=_LARGEST)


def connect_page(request: HttpRequest) -> HttpResponse:
    form = ChooseKeyForm(request.GET)
    key: ApiKey | None = form.cleaned_data["key"] if form.is_valid() else None
    # Keys are kept as hashes: where one goes can be shown, and the key itself cannot.
    stand_in = f"PASTE-THE-KEY-{key.prefix}-HERE" if key else ANY_KEY
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Connect a client",
        "form": form,
        "key": key,
        "stand_in": stand_in,
        "clients": lines_for_clients(base_url_of(request), stand_in),
        "key_auth_required": settings_get().key_auth_required,
        **_waiting(timezone.now(), key.pk if key else None),
    }
    return TemplateResponse(request, "admin/connect.html", context)


def first_request(request: HttpRequest) -> HttpResponse:
    """The part of the page that waits: polled until a request has been answered since it was opened."""
    asked = ArrivalForm(request.GET)
    asked.is_valid()
    since = _moment(asked.cleaned_data.get("since"))
    key_id: int | None = asked.cleaned_data.get("key")
    record = newest_arrival(since, key_id)
    if record is None or record.pk == asked.cleaned_data.get("seen"):
        # Nothing new: what the page shows stays, and with it where the reader is.
        return HttpResponse(status=204)
    context = {
        **_waiting(since, key_id),
        "record": record,
        "is_tick": _is_answered(record, key_id),
        "words": arrival_words(record, key_id),
    }
    return render(request, "admin/connect_arrival.html", context)


def newest_arrival(since: datetime, key_id: int | None) -> RequestRecord | None:
    """What was answered comes first; else what came last. A probe is the dashboard's own.

    For a key also what came with none that is known: a key that was mistyped is nobody's.
    """
    come = RequestRecord.objects.filter(requested_at__gte=since).exclude(client=PROBE).order_by("-id")
    if key_id is None:
        return come.filter(status=RequestRecord.Status.SUCCESS).first() or come.first()
    own = come.filter(api_key_id=key_id)
    either = come.filter(Q(api_key_id=key_id) | Q(api_key_id=None))
    return own.filter(status=RequestRecord.Status.SUCCESS).first() or either.first()


def arrival_words(record: RequestRecord, key_id: int | None) -> str:
    what = record.model or record.path
    if _is_answered(record, key_id):
        return f"✓ A request has arrived: {what}"
    if record.status == RequestRecord.Status.SUCCESS:
        return f"A request has arrived, but without this key: {what}"
    if record.status == RequestRecord.Status.CANCELLED:
        return f"A request has arrived, but its client left before the answer was complete: {what}"
    ended = "failed" if record.attempts else "was refused"
    cause = " ".join(str(each) for each in (record.status_code, record.error_code) if each)
    return f"A request has arrived, but it {ended} ({cause or 'no reason is known'}): {what}"


def _is_answered(record: RequestRecord, key_id: int | None) -> bool:
    return record.status == RequestRecord.Status.SUCCESS and key_id in (None, record.api_key_id)


def _waiting(since: datetime, key_id: int | None) -> dict[str, Any]:
    return {"since": since.timestamp(), "key_id": key_id}


def _moment(stamp: float | None) -> datetime:
    try:
        return timezone.now() if stamp is None else datetime.fromtimestamp(stamp, UTC)
    except (ValueError, OverflowError, OSError):
        return timezone.now()
