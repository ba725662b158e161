"""What the holder of a key sees of it: /v1/usage, as JSON, and in a browser as a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import msgspec
from django.template.loader import render_to_string
from django.utils import timezone

from proxy import limits
from proxy.body import read_body
from proxy.budgets import figure
from proxy.call import Call
from proxy.errors import AccessDenied, Busy
from proxy.figures import pool_window, upstream_limits
from proxy.headers import HeaderList
from proxy.key_selectors import KeyUsage, LimitView, key_requests, key_usage
from proxy.keys import KeyView, presented_key
from proxy.routing import Candidate
from proxy.sinks import JSON

# SECURITY: nothing of other sites, no script, not in a frame, and in nobody's cache.
_PAGE: HeaderList = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; "
        b"base-uri 'none'",
    ),
]


async def usage(call: Call) -> None:
    """GET /v1/usage: the key's own figures. A browser without a key gets a form that asks for it."""
    presented = presented_key(call.headers)
    if not presented and "text/html" in call.headers.get("accept", ""):
        call.runtime.gatekeeper.check_address(call.facts, call.record.path)
        await call.answer.whole(200, _PAGE, _rendered("keys/ask.html", {}))
        return
    key = _holder(call, presented)
    figures = await call.runtime.threads.reads.run(key_usage, key.id)
    pool = {name: _remaining(call, key, name) for name in ("primary", "secondary")}
    upstream = upstream_limits(_candidates(call, key), call.runtime.services.clock())
    payload = _payload(figures) | {"upstream_limits": upstream, "account_pool_usage": pool}
    headers = [JSON, (b"cache-control", b"no-store")]
    await call.answer.whole(200, headers, msgspec.json.encode(payload))


async def usage_page(call: Call) -> None:
    """POST /v1/usage: the page for the key that the form has sent. Nothing of it is kept in the browser."""
    form = parse_qs((await read_body(call.receive, limits.KEY_FORM_LIMIT)).decode("utf-8", "replace"))
    try:
        key = _holder(call, form.get("key", [""])[0].strip())
    except (AccessDenied, Busy) as refused:
        body = _rendered("keys/ask.html", {"error": refused.message})
        await call.answer.whole(refused.status, [*_PAGE, *refused.headers], body)
        return
    body = await call.runtime.threads.reads.run(_page, key)
    await call.answer.whole(200, _PAGE, body)


def _holder(call: Call, presented: str) -> KeyView:
    key = call.runtime.gatekeeper.admit_key_holder(call.facts, presented, call.record.path).key
    if key is None:
        raise LookupError("a holder has a key")
    return key


def _payload(usage: KeyUsage) -> dict[str, Any]:
    return {
        "request_count": usage.request_count,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "total_cost_usd": float(usage.cost_usd),
        "limits": [
            {
                "limit_type": limit.kind,
                "limit_window": limit.window,
                "max_value": limit.max_value,
                "current_value": limit.used,
                "remaining_value": limit.remaining,
                "model_filter": limit.model or None,
                "reset_at": f"{limit.reset_at:%Y-%m-%dT%H:%M:%SZ}",
                "source": "api_key_limit",
            }
            for limit in usage.limits
        ],
    }


def _remaining(call: Call, key: KeyView, name: str) -> float | None:
    """Percent left over the accounts that the key may use; None when nothing current is known."""
    window = pool_window(_candidates(call, key), name, call.runtime.services.clock())
    return None if window is None else round(max(0.0, 100.0 - window.used_percent), 1)


def _candidates(call: Call, key: KeyView) -> list[Candidate]:
    """The accounts that the key may use."""
    return [
        candidate
        for candidate in call.runtime.services.pool.candidates()
        if key.accounts is None or candidate.account_id in key.accounts
    ]


@dataclass(frozen=True, slots=True)
class Meter:
    """A limit as the page draws it."""

    limit: LimitView

    @property
    def used(self) -> str:
        return figure(self.limit.kind, self.limit.used)

    @property
    def most(self) -> str:
        return figure(self.limit.kind, self.limit.max_value)

    @property
    def percent(self) -> int:
        return min(100, 100 * self.limit.used // self.limit.max_value)


def _page(key: KeyView) -> bytes:
    usage = key_usage(key.id)
    context = {
        "key": key,
        "usage": usage,
        "meters": [Meter(limit) for limit in usage.limits],
        "requests": key_requests(key.id),
        "now": timezone.now(),
    }
    return _rendered("keys/usage.html", context)


def _rendered(template: str, context: dict[str, Any]) -> bytes:
    return render_to_string(template, context).encode()
