"""Pure: what the client is told when no account served."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from proxy.errors import Surfaced
from proxy.outcomes import LIMIT_CODES, UpstreamError, status_for, told_reset
from proxy.routing import PassedOver, Refusal

USAGE_LIMIT = "usage_limit_reached"
NO_ACCOUNTS = "no_accounts"


def surfaced(error: UpstreamError, passed_over: tuple[PassedOver, ...], *, native: bool) -> Surfaced:
    """The answer for upstream's last refusal in this request: its status and error object are kept."""
    status = error.status if error.status is not None else status_for(error.error)
    if status == 502 and not native:
        # A gateway between upstream and here gives its own status to whatever it was told.
        status = status_for(error.error)
    if is_limit(error):
        # Codex tries again for some codes; other clients can tell a limit from a quota by them.
        code = USAGE_LIMIT if native else _text(error.error.get("code")) or USAGE_LIMIT
        return usage_limit(error, passed_over, code)
    if status == 401 and native:
        # Codex would answer a 401 by refreshing its own token, which has nothing to do with it.
        return nobody(Refusal(passed_over))
    return Surfaced(
        status if 400 <= status <= 599 else 502,
        code=_text(error.error.get("code")) or "upstream_error",
        message=_text(error.error.get("message")) or "Upstream error",
        type=_text(error.error.get("type")) or "server_error",
        param=_text(error.error.get("param")) or None,
        extra={key: value for key, value in error.error.items() if key not in _NAMED},
    )


_NAMED = ("code", "message", "type", "param")
_RESETS = ("resets_at", "resets_in_seconds")


def is_limit(error: UpstreamError) -> bool:
    return error.code in LIMIT_CODES or error.status == 429


def usage_limit(
    error: UpstreamError | None, passed_over: tuple[PassedOver, ...], code: str = USAGE_LIMIT
) -> Surfaced:
    """429 in the only form that Codex reads as final: the exact type, and an integer `resets_at`.

    That is when the first account returns; where nothing of the pool is known, what upstream has said.
    No Retry-After: it would make Codex wait and ask again.
    """
    refusal = Refusal(passed_over)
    told: Mapping[str, Any] = error.error if error else {}
    message = (error.message if error else "") or "The usage limit has been reached."
    extra = {key: value for key, value in told.items() if key not in (*_NAMED, *_RESETS)}
    if refusal.earliest_return is not None:
        extra["resets_at"] = int(refusal.earliest_return)
    else:
        extra |= told_reset(told)
    return Surfaced(
        429,
        code=code,
        message=message + reasons(passed_over),
        type=USAGE_LIMIT,
        param=_text(told.get("param")) or None,
        extra=extra,
    )


def nobody(refusal: Refusal) -> Surfaced:
    """No account could be tried."""
    if refusal.only_limits:
        return usage_limit(None, refusal.passed_over)
    if refusal.passed_over and not refusal.own:
        message = "None of the accounts that this API key may use is in the pool."
    elif not refusal.passed_over:
        message = "There is no account in the pool yet: add one in the dashboard."
    else:
        message = "No account can serve this request." + reasons(refusal.passed_over)
    return Surfaced(503, code=NO_ACCOUNTS, message=message, type="server_error")


def lost_response() -> Surfaced:
    """A turn goes on from what no connection knows any more.

    Upstream's own words at the end of a connection's hour, and the one error after which every generation
    of Codex connects again and sends the whole conversation.
    """
    return Surfaced(
        400,
        code="websocket_connection_limit_reached",
        message="The connection that knew the previous response has ended. "
        "Create a new websocket connection to continue, and send the whole conversation.",
    )


def reasons(passed_over: tuple[PassedOver, ...]) -> str:
    """Each account's reason and its return, for a person to read."""
    own = Refusal(passed_over).own
    parts = [f"{account.label}: {account.reason}{_return(account.until)}" for account in own]
    return " (" + "; ".join(parts) + ")" if parts else ""


def _return(until: float | None) -> str:
    return "" if until is None else f", back at {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
