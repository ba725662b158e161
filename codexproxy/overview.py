"""What the overview page shows, from a handful of queries however many requests there are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from codexproxy import VERSION, gate, health, processes
from codexproxy.account_cards import account_cards
from codexproxy.admin_base import UNKNOWN, compact, duration_words, time_cell
from codexproxy.attention import notices
from codexproxy.charts import sparkline
from codexproxy.first_steps import FirstStep, first_steps
from codexproxy.overview_charts import DEFAULT_SPLIT, SPLITS, Split, charts
from codexproxy.pool_meters import pool_meters
from proxy.key_selectors import names_of_keys
from proxy.models import Settings
from proxy.settings_services import first_steps_end, settings_get
from requestlogs.figures import Totals, top_error
from requestlogs.models import RequestRecord
from requestlogs.timeline import DEFAULT_SPAN, SPANS, Span, Timeline, costs_by, timeline
from usage.selectors import forecasts

LAST_REQUESTS = 10


def overview(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    span = SPANS.get(request.GET.get("range", ""), DEFAULT_SPAN)
    split = SPLITS.get(request.GET.get("by", ""), DEFAULT_SPLIT)
    settings = settings_get()
    accounts = list(Account.objects.prefetch_related("windows").order_by("email", "pk"))
    expected = forecasts(accounts, now)
    lines = timeline(span, now)
    newest = list(RequestRecord.objects.order_by("-id")[:LAST_REQUESTS])
    return {
        "first_steps": _first_steps(request, settings, accounts, newest),
        "notices": notices(accounts, expected, now),
        "span": span,
        "spans": SPANS.values(),
        "split": split,
        "splits": SPLITS.values(),
        "now": now,
        "figures": figure_cards(lines, top_error(lines.parts[0][0])),
        "pools": pool_meters(accounts, expected, now),
        "cards": account_cards(accounts, settings, now),
        "charts": charts(lines, _named_costs(split, span, accounts, now)),
        "requests": _last_requests(newest, accounts, now),
        "strip": _strip(accounts, settings, now),
    }


def _first_steps(
    request: HttpRequest, settings: Settings, accounts: list[Account], newest: list[RequestRecord]
) -> list[FirstStep]:
    if settings.first_steps_done:
        return []
    steps = first_steps(accounts, newest, is_locked=not gate.locks(request).are_open)
    if not steps:
        # Ten failures in a row must not bring them back.
        first_steps_end()
    return steps


def _strip(accounts: list[Account], settings: Settings, now: datetime) -> list[str]:
    """The state of the program itself, in a line."""
    readings = [row.recorded_at for account in accounts for row in account.windows.all()]
    age = f"usage read {duration_words(now - max(readings))} ago" if readings else "usage not read yet"
    strategy = settings.get_routing_strategy_display().partition(":")[0].lower()
    state = "draining" if health.is_draining() else "ready"
    return [state, age, f"strategy: {strategy}", _process_words(), f"codexproxy {VERSION}"]


def _process_words() -> str:
    count = processes.count()
    return "1 process" if count == 1 else f"{count} processes"


def _named_costs(
    split: Split, span: Span, accounts: list[Account], now: datetime
) -> list[tuple[str, list[Decimal]]]:
    names: dict[Any, str] = {}
    if split.key == "account":
        names = {account.pk: account.display_name for account in accounts}
    elif split.key == "key":
        names = names_of_keys()
    found = costs_by(split.field, span, now)
    return [(names.get(value) or str(value or split.without), costs) for value, costs in found.items()]


def _last_requests(
    newest: list[RequestRecord], accounts: list[Account], now: datetime
) -> list[dict[str, Any]]:
    names = {account.pk: account.display_name for account in accounts}
    return [
        {
            "record": record,
            "time": time_cell(record.requested_at, now),
            "account": names.get(record.account_id) or record.account_id or UNKNOWN,
            "duration": UNKNOWN if record.latency_ms is None else f"{record.latency_ms / 1000:.2f} s",
        }
        for record in newest
    ]


# --- figures ------------------------------------------------------------------------------------


def figure_cards(lines: Timeline, error: str | None) -> list[dict[str, Any]]:
    """Requests, tokens, cost and errors of the span, each with its line and the change against before."""
    total, before = lines.total, lines.before
    minutes = lines.span.length.total_seconds() / 60
    days = minutes / 1440
    cached = UNKNOWN if total.cached_share is None else f"{total.cached_share:.0%}"
    rate = UNKNOWN if total.error_rate is None else f"{total.error_rate:.1%}"
    unpriced = f"; {total.unpriced} of unknown cost" if total.unpriced else ""
    requests_url = f"{reverse('admin:requestlogs_requestrecord_changelist')}?period={lines.span.key}"
    errors_url = f"{reverse('admin:errors')}?range={lines.span.key}"
    cards = [
        _card(
            "Requests", compact(total.requests), f"{total.requests / minutes:.1f} a minute", lines,
            lambda found: found.requests, change_words(total.requests, before.requests),
        ),
        _card(
            "Tokens", compact(total.tokens),
            f"{compact(total.input_tokens)} in ({cached} cached), {compact(total.output_tokens)} out", lines,
            lambda found: found.tokens, change_words(total.tokens, before.tokens),
        ),
        _card(
            "Cost at API prices", f"${total.cost_usd:,.2f}",
            f"${float(total.cost_usd) / days:,.2f} a day{unpriced}", lines,
            lambda found: float(found.cost_usd), change_words(float(total.cost_usd), float(before.cost_usd)),
        ),
        _card(
            "Errors", rate, _error_words(total, error), lines,
            lambda found: found.errors, change_words(total.errors, before.errors),
        ),
    ]  # fmt: skip
    cards[0]["url"], cards[3]["url"] = requests_url, errors_url
    return cards


def _card(
    title: str, value: str, detail: str, lines: Timeline, figure: Callable[[Totals], float], change: str
) -> dict[str, Any]:
    points = sparkline([figure(found) for _, found in lines.parts])
    return {"title": title, "value": value, "detail": detail, "change": change, "points": points}


def _error_words(total: Totals, error: str | None) -> str:
    if not total.errors:
        return "none"
    return f"{compact(total.errors)} of {compact(total.requests)}; mostly {error or 'without a code'}"


def change_words(value: float, before: float) -> str:
    """Against as long a time before."""
    if not before:
        return "nothing before" if value else ""
    change = (value - before) / before
    if abs(change) < 0.01:
        return "as before"
    return f"{abs(change):.0%} {'more' if change > 0 else 'less'} than before"
