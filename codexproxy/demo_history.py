"""An invented week of the demo: requests of every outcome, and how its accounts' windows went down."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta

from accounts.models import Account
from requestlogs.models import RequestRecord
from requestlogs.records import AttemptRecord, Record, TokenCounts
from requestlogs.writer import records_store
from usage.models import CurrentWindow, WindowSample

DAYS = 7
ROWS = 600
_BEATS = timedelta(hours=2)
_MODELS = ("gpt-5.5", "gpt-5.5", "gpt-5.5", "gpt-5.4-mini")
_MAC = "codex_cli_rs (demo on a laptop)"
_SDK = "OpenAI/Python (demo on a server)"


def seed(now: datetime) -> None:
    """The same on every machine, and only once."""
    if RequestRecord.objects.exists():
        return
    chance = random.Random(7)
    account_ids = list(Account.objects.order_by("pk").values_list("pk", flat=True))
    moments = sorted(_moments(chance, now))
    records_store([_request(chance, number, at, account_ids) for number, at in enumerate(moments)])
    for window in CurrentWindow.objects.filter(window="secondary"):
        WindowSample.objects.bulk_create(_samples(window, now))


def _moments(chance: random.Random, now: datetime) -> list[datetime]:
    """More by day than by night."""
    found: list[datetime] = []
    while len(found) < ROWS:
        at = now - timedelta(seconds=60 + chance.random() * DAYS * 86_400)
        if chance.random() < 0.15 + 0.85 * max(0.0, math.sin(math.pi * (at.hour - 6) / 14)):
            found.append(at)
    return found


def _request(chance: random.Random, number: int, at: datetime, account_ids: list[str]) -> Record:
    account_id = chance.choice(account_ids)
    first_ms = chance.randint(350, 2_500)
    output = chance.randint(50, 3_000)
    last_ms = first_ms + output * 8
    record = Record(
        f"demo-{number:04}",
        at,
        account_id=account_id,
        client=chance.choice((_MAC, _MAC, _SDK)),
        client_address="127.0.0.1",
        path="/backend-api/codex/responses",
        conversation=f"demo-conversation-{number // 8}",
        model=chance.choice(_MODELS),
        reasoning_effort=chance.choice(("low", "medium", "high")),
        latency_ms=last_ms,
        routing={"why": "a row of the demo's invented history"},
    )
    attempt = AttemptRecord(account_id, 2, "served", status=200, ended_ms=last_ms)
    fate = chance.random()
    if fate < 0.05:
        _fail(record, attempt, "upstream_unavailable", 503)
    elif fate < 0.07:
        _fail(record, attempt, "usage_limit_reached", 429)
    else:
        inputs = chance.randint(2_000, 60_000)
        cached = int(inputs * chance.choice((0, 0.5, 0.8, 0.9)))
        record.tokens = TokenCounts(input=inputs, cached_input=cached, output=output)
        record.first_token_ms = attempt.first_event_ms = first_ms
        record.status, record.status_code = ("cancelled", 499) if fate < 0.1 else ("success", 200)
    record.attempts = [attempt]
    if fate > 0.94:
        _begin_elsewhere(record, chance.choice([other for other in account_ids if other != account_id]))
    return record


def _fail(record: Record, attempt: AttemptRecord, code: str, status: int) -> None:
    record.status, record.status_code, record.error_code = "error", status, code
    # Nobody has answered it.
    record.account_id = ""
    attempt.outcome, attempt.status, attempt.code = "refused", status, code


def _begin_elsewhere(record: Record, account_id: str) -> None:
    """Another account was asked first, in vain."""
    first = AttemptRecord(account_id, 2, "server_error", status=502, code="server_error", ended_ms=240)
    record.attempts = [first, *record.attempts]
    record.attempts[1].started_ms = 241


def _samples(window: CurrentWindow, now: datetime) -> list[WindowSample]:
    """The week as it was before its reset, and since."""
    reset_at = window.reset_at or now
    begun = reset_at - timedelta(days=7)
    found = []
    at = now - timedelta(days=DAYS)
    while at < now:
        over = at - begun if at >= begun else at - begun + timedelta(days=7)
        whole = (now - begun) if at >= begun else timedelta(days=7)
        found.append(
            WindowSample(
                account_id=window.account_id,
                window=window.window,
                used_percent=round(window.used_percent * (over / whole), 1),
                reset_at=reset_at if at >= begun else begun,
                window_minutes=window.window_minutes,
                recorded_at=at,
            )
        )
        at += _BEATS
    return found
