"""What happened to one request, as its page tells it: the way in time, why this account, and the cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from requestlogs.causes import Hint, hint_for
from requestlogs.models import RequestRecord
from requestlogs.records import TokenCounts
from usage.pricing import PriceBook


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened, and when, in milliseconds since the request came in."""

    at_ms: int
    words: str
    detail: str = ""
    level: str = "quiet"

    @property
    def seconds(self) -> str:
        return f"{self.at_ms / 1000:.2f} s"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of the request's time, in percent of it."""

    x: float
    width: float
    mark: str
    words: str


def story(record: RequestRecord, names: Mapping[str, str], prices: PriceBook) -> dict[str, Any]:
    """`names`: account id → what the account is called."""
    routing = record.routing if isinstance(record.routing, dict) else {}
    attempts = _named(record.attempts, names)
    return {
        "attempts": attempts,
        "moments": moments(record, attempts),
        "stretches": stretches(attempts, record.latency_ms, record.first_token_ms),
        "split": record.split if isinstance(record.split, dict) else {},
        "why": _in_words(routing.get("why")),
        "passed_over": [
            {**entry, "until": _until(entry.get("until"))}
            for entry in _named(routing.get("passed_over"), names)
        ],
        "hint": _hint(record),
        "cost": cost_words(record, prices),
    }


def _named(entries: object, names: Mapping[str, str]) -> list[dict[str, Any]]:
    # Rows outlive the code that wrote them: what is not as expected is left out.
    found = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [
        {**entry, "account": names.get(str(entry.get("account_id")), entry.get("account_id"))}
        for entry in found
    ]


def _in_words(why: object) -> str:
    """Strategies stand in the rows by their names in the settings."""
    return str(why or "").replace("_", " ")


def _until(value: object) -> datetime | None:
    """Rows hold unix seconds."""
    try:
        return datetime.fromtimestamp(float(value), UTC) if isinstance(value, (int, float)) else None
    except (OverflowError, OSError, ValueError):
        return None


def _hint(record: RequestRecord) -> Hint | None:
    return hint_for(record.error_code or "") if record.status == RequestRecord.Status.ERROR else None


def moments(record: RequestRecord, attempts: list[dict[str, Any]]) -> list[Moment]:
    """In order: it came in, each account was asked and answered, the first token, the end."""
    found = [Moment(0, "The request came in")]
    for attempt in attempts:
        began, first, ended = (
            _ms(attempt.get(name)) for name in ("started_ms", "first_event_ms", "ended_ms")
        )
        account = attempt["account"] or "an account"
        if began is not None:
            found.append(Moment(began, f"Asked {account}"))
        if first is not None and first != record.first_token_ms:
            found.append(Moment(first, f"First event from {account}"))
        if ended is not None and not _has_served(attempt):
            outcome = str(attempt.get("outcome") or "no answer").replace("_", " ")
            found.append(Moment(ended, f"{account}: {outcome}", _detail(attempt), "bad"))
    if record.first_token_ms is not None:
        found.append(Moment(record.first_token_ms, "First token", level="good"))
    if record.latency_ms is not None:
        found.append(Moment(record.latency_ms, *_END[record.status]))
    return sorted(found, key=lambda moment: moment.at_ms)


_END = {
    "success": ("The answer was complete", "", "good"),
    "error": ("The client was told that it failed", "", "bad"),
    "cancelled": ("The client left", "", "fair"),
}


def _has_served(attempt: Mapping[str, Any]) -> bool:
    return attempt.get("outcome") in ("served", "ok")


def _detail(attempt: Mapping[str, Any]) -> str:
    parts = (attempt.get("status"), attempt.get("code"), attempt.get("message"))
    return ", ".join(str(part) for part in parts if part)


def stretches(
    attempts: list[dict[str, Any]], latency_ms: int | None, first_token_ms: int | None
) -> list[Stretch]:
    """The whole request as one bar: waiting here, accounts in vain, until the first token, the answer."""
    if not latency_ms:
        return []
    edges: list[tuple[int, int, str, str]] = []
    at = 0
    for attempt in attempts:
        began, ended = _ms(attempt.get("started_ms")), _ms(attempt.get("ended_ms"))
        if began is None:
            continue
        # Whoever serves does so to the end.
        end = latency_ms if ended is None or _has_served(attempt) else ended
        edges.append((at, began, "wait", "waited here"))
        if not _has_served(attempt):
            edges.append((began, end, "bad", f"{attempt['account']}, in vain"))
        else:
            turn = first_token_ms if first_token_ms is not None else _ms(attempt.get("first_event_ms"))
            turn = end if turn is None else min(max(turn, began), end)
            edges.append((began, turn, "quiet", f"{attempt['account']}, until the first token"))
            edges.append((turn, end, "first", f"{attempt['account']}, the answer"))
        at = end
    return [_stretch(*edge, latency_ms) for edge in edges if edge[1] > edge[0]]


def _stretch(begin: int, end: int, mark: str, words: str, whole: int) -> Stretch:
    x, edge = (min(100.0, max(0.0, 100 * moment / whole)) for moment in (begin, end))
    return Stretch(round(x, 2), round(edge - x, 2), mark, f"{words}: {(end - begin) / 1000:.2f} s")


def _ms(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def cost_words(record: RequestRecord, prices: PriceBook) -> str:
    """How the cost comes about; "" when there is none, or when prices have changed since."""
    inputs = record.input_tokens or 0
    output = record.output_tokens if record.output_tokens is not None else record.reasoning_tokens
    counts = TokenCounts(record.input_tokens, record.cached_input_tokens, output)
    if (
        record.cost_usd is None
        or prices.cost_usd(record.model, counts, record.service_tier) != record.cost_usd
    ):
        return ""
    rates = prices.rates(record.model, record.service_tier, inputs)
    if rates is None:
        return ""
    cached = min(record.cached_input_tokens or 0, inputs)
    parts = (
        (inputs - cached, "input", rates.input),
        (cached, "cached", rates.cached),
        (output or 0, "output", rates.output),
    )
    terms = [f"{count:,} {kind} × ${_plain(rate)}" for count, kind, rate in parts if count]
    return f"{' + '.join(terms)}, each for a million tokens"


def _plain(rate: Decimal) -> str:
    return f"{rate.normalize():f}"
