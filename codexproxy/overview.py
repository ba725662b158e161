"""What the overview page shows, from a handful of queries however many requests there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Account
from codexproxy import VERSION, gate
from codexproxy.admin_base import UNKNOWN, duration_words, status_badge, time_cell, windows_of
from codexproxy.attention import notices
from codexproxy.charts import Chart, Series, sparkline, stacked
from codexproxy.connect_page import base_url_of
from codexproxy.first_steps import first_steps
from proxy.settings_services import settings_get
from requestlogs.figures import Totals, pool_window, top_error, window_state
from requestlogs.models import RequestRecord
from requestlogs.timeline import DEFAULT_SPAN, SPANS, Timeline, timeline
from usage.pace import Forecast, Pace
from usage.selectors import forecasts, pool_weekly_pace

LAST_REQUESTS = 10
_POOL_WINDOWS = (("primary", "5 hours"), ("secondary", "Week"))


def overview(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    span = SPANS.get(request.GET.get("range", ""), DEFAULT_SPAN)
    accounts = list(Account.objects.prefetch_related("windows").order_by("email", "pk"))
    expected = forecasts(accounts, now)
    lines = timeline(span, now)
    newest = list(RequestRecord.objects.order_by("-id")[:LAST_REQUESTS])
    return {
        "first_steps": first_steps(accounts, newest, is_locked=not gate.locks(request).are_open),
        "notices": notices(accounts, expected, now),
        "span": span,
        "spans": SPANS.values(),
        "figures": figure_cards(lines, top_error(lines.parts[0][0])),
        "pools": pool_meters(accounts, expected, now),
        "cards": [
            {
                "account": account,
                "url": reverse("admin:accounts_account_change", args=[quote(account.pk)]),
                "status": status_badge(account, now),
                "windows": windows_of(account, now),
            }
            for account in accounts
        ],
        "charts": charts(lines),
        "requests": _last_requests(newest, accounts, now),
        "strip": _strip(accounts, now),
        "base_url": base_url_of(request),
    }


def _strip(accounts: list[Account], now: datetime) -> list[str]:
    """The state of the program itself, in a line."""
    readings = [row.recorded_at for account in accounts for row in account.windows.all()]
    age = f"usage read {duration_words(now - max(readings))} ago" if readings else "usage not read yet"
    strategy = settings_get().get_routing_strategy_display()
    return [age, f"strategy: {strategy}", f"codexproxy {VERSION}"]


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
    return [
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


def compact(number: float) -> str:
    """1,234 and below as they are; 12.3 k, 4.5 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / {'G': 1e9, 'M': 1e6, 'k': 1e3}[unit]:.1f} {unit}"
    return f"{number:,.0f}"


# --- the pool -----------------------------------------------------------------------------------


def pool_meters(
    accounts: list[Account], expected: Mapping[str, Forecast], now: datetime
) -> list[dict[str, Any]]:
    """What is left of each window over all accounts that have a reading of it."""
    found = []
    for name, label in _POOL_WINDOWS:
        states = [
            (account, window_state(account, {row.window: row for row in account.windows.all()}, name, now))
            for account in accounts
        ]
        pool = pool_window(states, name)
        if not pool.capacity.capacity_credits:
            continue
        known = sum(1 for _, state in states if state.used_percent is not None and state.capacity)
        left = round(pool.capacity.remaining_percent)
        reset = f"the first reset is in {duration_words(pool.reset_at - now)}" if pool.reset_at else ""
        found.append(
            {
                "label": label,
                "percent": left,
                "text": f"{left} % left",
                "credits": f"{compact(pool.capacity.remaining_credits)} of "
                f"{compact(pool.capacity.capacity_credits)} credits",
                "accounts": f"{known} of {len(accounts)} accounts are known",
                "reset": reset,
                "forecast": forecast_words(expected.get(name), now),
                "pace": pace_words(pool_weekly_pace(accounts, now)) if name == "secondary" else "",
            }
        )
    return found


def forecast_words(expected: Forecast | None, now: datetime) -> str:
    if expected is None:
        return ""
    if expected.dry_at is None:
        saved = f"the reset at {_clock(expected.saved_at)} saves it" if expected.saved_at else ""
        return f"At the present rate {saved or 'it does not run dry'}."
    in_words = duration_words(datetime.fromtimestamp(expected.dry_at, UTC) - now)
    words = f"At the present rate it runs dry at {_clock(expected.dry_at)}, in {in_words}"
    if expected.postponed_at:
        return f"{words}, although the reset at {_clock(expected.postponed_at)} gives some back."
    if expected.too_late_at:
        return f"{words}; the next reset, at {_clock(expected.too_late_at)}, does not save it."
    return f"{words}."


def pace_words(pace: Pace | None) -> str:
    if pace is None:
        return ""
    if pace.word == "even":
        return f"Even use would be at {100 - pace.expected_percent:.0f} % left, and so it is."
    even = f"even use would be at {100 - pace.expected_percent:.0f} % left"
    if pace.word == "fast":
        return f"It is used faster than evenly: {even}."
    return f"It is used more slowly than evenly: {even}."


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M} UTC"


# --- charts -------------------------------------------------------------------------------------


def charts(lines: Timeline) -> list[Chart]:
    labels = [f"{begin:%Y-%m-%d %H:%M}" for begin, _ in lines.parts]
    parts = [found for _, found in lines.parts]
    total = lines.total
    first = [found.first_token_s or 0.0 for found in parts]
    mean = UNKNOWN if total.first_token_s is None else f"{total.first_token_s:.2f} s"
    return [
        stacked(
            "Requests",
            f"{compact(total.requests)} requests, {compact(total.errors)} of them failed.",
            labels,
            [
                Series("Answered", "good", [p.requests - p.errors - p.cancelled for p in parts]),
                Series("Cancelled", "fair", [p.cancelled for p in parts]),
                Series("Failed", "bad", [p.errors for p in parts]),
            ],
            compact,
        ),
        stacked(
            "Tokens",
            f"{compact(total.tokens)} tokens, {compact(total.cached_input_tokens)} of them from the cache.",
            labels,
            [
                Series("Input from the cache", "quiet", [p.cached_input_tokens for p in parts]),
                Series("Other input", "first", [p.input_tokens - p.cached_input_tokens for p in parts]),
                Series("Output", "second", [p.output_tokens for p in parts]),
            ],
            compact,
        ),
        stacked(
            "Cost at API prices",
            f"${total.cost_usd:,.2f} in all.",
            labels,
            [Series("Cost", "first", [float(p.cost_usd) for p in parts])],
            lambda value: f"${value:,.2f}",
        ),
        stacked(
            "Time to the first token",
            f"{mean} on average.",
            labels,
            [Series("Mean", "second", first)],
            lambda value: f"{value:.2f} s",
        ),
    ]
