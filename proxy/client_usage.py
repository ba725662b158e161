"""What Codex asks about its limits and its workspace: nothing of it goes upstream, no account is named."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Any

import msgspec
from django.conf import settings

from accounts.claims import read_claims
from accounts.operators.sessions import code_was_proved
from proxy.call import Call
from proxy.dialects.client_usage import accounts_answer, pool_plan, usage_answer
from proxy.errors import BadRequest
from proxy.figures import pool_window
from proxy.sinks import JSON


async def codex_usage(call: Call) -> None:
    """GET /api/codex/usage: outside firewall and locality by decision; see `check_usage_access`."""
    gatekeeper = call.runtime.gatekeeper
    has_session = gatekeeper.asks_for_session and await _has_session(call)
    call.access = gatekeeper.admit_usage(call.facts, call.headers, call.record.path, has_session=has_session)
    await _answer(call, _usage(call))


async def wham_usage(call: Call) -> None:
    """GET /backend-api/wham/usage: what Codex shows as its limits."""
    await _answer(call, _usage(call))


async def accounts_check(call: Call) -> None:
    """GET /backend-api/wham/accounts/check: the client's own workspace, from its own headers.

    SECURITY: the client's token is read for what it says of its owner, and goes nowhere.
    """
    claims = read_claims(call.headers.get("authorization", "").removeprefix("Bearer ").strip())
    account_id = call.headers.get("chatgpt-account-id", "").strip() or claims.account_id
    if not account_id:
        raise BadRequest("The request names no account: the header chatgpt-account-id is missing.")
    await _answer(call, accounts_answer(account_id, claims))


def _usage(call: Call) -> dict[str, Any]:
    services = call.runtime.services
    now, candidates = services.clock(), list(services.pool.candidates())
    primary, secondary = (pool_window(candidates, name, now) for name in ("primary", "secondary"))
    return usage_answer(pool_plan(candidates), primary, secondary, now)


async def _has_session(call: Call) -> bool:
    """Whether the dashboard's one-time code was given: a query, and only where it is asked for."""
    try:
        cookies: SimpleCookie = SimpleCookie(call.headers.get("cookie", ""))
    except CookieError:
        return False
    cookie = cookies.get(settings.SESSION_COOKIE_NAME)
    if cookie is None:
        return False
    return await call.runtime.threads.services.run(code_was_proved, session_key=cookie.value)


async def _answer(call: Call, answer: dict[str, Any]) -> None:
    headers = [JSON, (b"cache-control", b"no-store")]
    await call.answer.whole(200, headers, msgspec.json.encode(answer))
