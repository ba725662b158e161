"""What is still to be done on a fresh install, until a client was answered or nobody wants to see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.models import Account
from proxy.probe import CLIENT as PROBE
from proxy.settings_services import first_steps_end
from requestlogs.models import RequestRecord


@dataclass(frozen=True, slots=True)
class FirstStep:
    is_done: bool
    title: str
    words: str
    url: str
    action: str
    is_optional: bool = False


def first_steps(
    accounts: list[Account], last_requests: Iterable[RequestRecord], *, is_locked: bool
) -> list[FirstStep]:
    """In the order in which they are done; empty when all that must be done is."""
    rows = list(last_requests)
    answered = [row for row in rows if row.status == RequestRecord.Status.SUCCESS]
    steps = [
        FirstStep(
            bool(accounts),
            "Add an account",
            "A ChatGPT sign-in of yours, that requests are answered with. More of them share the load.",
            reverse("admin:accounts_account_add"),
            "Add account",
        ),
        FirstStep(
            bool(answered),
            "See whether it serves",
            "The account's page has a probe, which sends one small request.",
            reverse("admin:accounts_account_changelist"),
            "Accounts",
        ),
        FirstStep(
            is_locked,
            "Lock the dashboard",
            "It is open to this machine. A password or one-time codes open it to you from anywhere else.",
            reverse("admin:security"),
            "Security",
            is_optional=True,
        ),
        FirstStep(
            any(row.client != PROBE for row in rows),
            "Connect a client",
            "Codex CLI, OpenCode or anything on an OpenAI SDK: a few lines of its settings, ready to copy.",
            reverse("admin:connect"),
            "Connect a client",
        ),
        FirstStep(
            any(row.client != PROBE for row in answered),
            "See it work",
            "The first answer that a client gets. What keeps it from one is among the requests.",
            reverse("admin:requestlogs_requestrecord_changelist"),
            "Requests",
        ),
    ]
    return [] if all(step.is_done or step.is_optional for step in steps) else steps


@require_POST
def dismiss_page(request: HttpRequest) -> HttpResponse:
    first_steps_end()
    return HttpResponseRedirect(reverse("admin:index"))
