"""Pure: what an answer of upstream means for the account, for the client and for the next step.

This is the one table; HTTP and websocket, first events and later ones all ask it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from proxy import limits


class Effect(Enum):
    """What the account learns."""

    NONE = "none"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    MODEL_LIMITED = "model_limited"
    SIGN_IN_NEEDED = "reauth_required"
    DEACTIVATED = "deactivated"
    TRANSIENT = "transient"


class Step(Enum):
    """What the attempts loop does next."""

    NEXT_ACCOUNT = "next account"
    REFRESH_TOKEN = "refresh, same account"  # noqa: S105 - not a password
    WITHOUT_REASONING = "same account without foreign reasoning"
    SURFACE = "to the client"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`name` is what the record and the explainer show; `reset_at` is unix seconds.

    `limit_id`: the limit for one model that was reached. `code`: upstream's word for the end of a sign-in.
    """

    name: str
    effect: Effect
    step: Step
    reset_at: float | None = None
    reason: str = ""
    limit_id: str = ""
    code: str = ""

    @property
    def counts_as_transient(self) -> bool:
        """Refusals of a sign-in cost nothing: every candidate may be asked."""
        return self.effect is Effect.TRANSIENT and self.step is not Step.REFRESH_TOKEN


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """A refusal of upstream. `status` is None when it came as an event inside a 200.

    `error` is the error object as it came; `body` the raw body, where there was one. `limit_id` names the
    limit for one model that it is about.
    """

    status: int | None
    error: Mapping[str, Any]
    body: bytes = b""
    limit_id: str = ""

    @property
    def code(self) -> str:
        """The code, else the type, in lower case: either may be missing."""
        for name in ("code", "type"):
            value = self.error.get(name)
            if isinstance(value, str) and value:
                return value.lower()
        return ""

    @property
    def message(self) -> str:
        value = self.error.get("message") or self.error.get("detail")
        return value if isinstance(value, str) else ""


RATE_LIMIT_CODES = frozenset({"rate_limit_exceeded", "usage_limit_reached", "rate_limit_error"})
QUOTA_CODES = frozenset({"insufficient_quota", "usage_not_included", "quota_exceeded"})
LIMIT_CODES = RATE_LIMIT_CODES | QUOTA_CODES

SIGN_IN_REASONS = {
    "app_session_terminated": "The session was ended by its owner: sign in again.",
    "account_session_expired": "The session has expired: sign in again.",
    "account_auth_invalidated": "The sign-in was invalidated: sign in again.",
}
CLOSED_REASONS = {
    "account_deactivated": "Account has been deactivated",
    "account_suspended": "Account has been suspended",
    "account_deleted": "Account has been deleted",
}
OVERLOAD_CODES = frozenset(
    {
        "server_error",
        "upstream_error",
        "overloaded_error",
        "server_is_overloaded",
        "internal_server_error",
        # our own words for a stream that broke
        "upstream_unavailable",
        "stream_incomplete",
        "stream_idle_timeout",
        "stream_event_too_large",
    }
)
FOREIGN_CONTENT = "invalid_encrypted_content"

_UNIT = r"(?:ms|milliseconds?|h|hours?|m|min(?:ute)?s?|s|sec(?:ond)?s?)"
_HINT = re.compile(rf"try again in\s+((?:\d+(?:\.\d+)?\s*{_UNIT}\s*)+)", re.I)
_HINT_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|h|m|s)", re.I)
_SECONDS = {"ms": 0.001, "milli": 0.001, "h": 3600.0, "m": 60.0, "s": 1.0}


def is_foreign_content(error: UpstreamError) -> bool:
    """Encrypted items of another account: by code, or by the message when the code is null."""
    if error.status not in (None, 400):
        return False
    if error.code == FOREIGN_CONTENT:
        return True
    message = error.message.lower()
    return "encrypted content" in message and (
        "verif" in message or "decrypt" in message or "invalid" in message
    )


def classify(error: UpstreamError, now: float) -> Outcome:
    """The table. Order matters: the code says more than the status."""
    code, status = error.code, error.status
    if is_foreign_content(error):
        return Outcome("foreign encrypted content", Effect.NONE, Step.WITHOUT_REASONING)
    if code in CLOSED_REASONS:
        closed = CLOSED_REASONS[code]
        return Outcome("account closed", Effect.DEACTIVATED, Step.NEXT_ACCOUNT, reason=closed, code=code)
    if code in SIGN_IN_REASONS:
        ended = SIGN_IN_REASONS[code]
        return Outcome("signed out", Effect.SIGN_IN_NEEDED, Step.NEXT_ACCOUNT, reason=ended, code=code)
    if status == 401:
        return Outcome(
            "unauthorized", Effect.TRANSIENT, Step.REFRESH_TOKEN, reason="upstream refused the token"
        )
    if code in QUOTA_CODES:
        reset = reset_of(error.error, now) or now + limits.QUOTA_WITHOUT_RESET_S
        return Outcome("quota exceeded", Effect.QUOTA_EXCEEDED, Step.NEXT_ACCOUNT, reset, _reason(error))
    if code in RATE_LIMIT_CODES or status == 429:
        return Outcome(
            "model limit reached" if error.limit_id else "limit reached",
            Effect.MODEL_LIMITED if error.limit_id else Effect.RATE_LIMITED,
            Step.NEXT_ACCOUNT,
            reset_of(error.error, now),
            _reason(error),
            error.limit_id,
        )
    if _is_transient(error):
        return Outcome(
            "upstream error", Effect.TRANSIENT, Step.NEXT_ACCOUNT, reason=_reason(error) or f"HTTP {status}"
        )
    if status in (402, 403):
        # Not proof against the account (a block page, a workspace rule), yet another one may serve.
        return Outcome(
            "refused", Effect.TRANSIENT, Step.NEXT_ACCOUNT, reason=_reason(error) or f"HTTP {status}"
        )
    return Outcome("client error", Effect.NONE, Step.SURFACE, reason=_reason(error))


def _is_transient(error: UpstreamError) -> bool:
    if error.status is not None and (error.status >= 500 or error.status < 400 or error.status in (408, 425)):
        return True
    if error.code in OVERLOAD_CODES or "selected model is at capacity" in error.message.lower():
        return True
    return error.status is None and not error.code


def _reason(error: UpstreamError) -> str:
    return error.message or error.code


def reset_of(error: Mapping[str, Any], now: float) -> float | None:
    """When a limit ends, in unix seconds: resets_at, else resets_in_seconds, else "try again in …".

    Anything that is not in the future or further away than the longest window is no evidence.
    """
    for candidate in (
        _number(error.get("resets_at")),
        _later(now, _number(error.get("resets_in_seconds"))),
        _later(now, hint_s(error.get("message"))),
    ):
        if candidate is not None and candidate > now:
            return min(candidate, now + limits.LONGEST_WINDOW_S)
    return None


def told_reset(error: Mapping[str, Any]) -> dict[str, int]:
    """When a limit ends in upstream's own words, as the whole seconds that Codex reads."""
    found = {name: _number(error.get(name)) for name in ("resets_at", "resets_in_seconds")}
    return {name: int(value) for name, value in found.items() if value is not None}


def hint_s(message: object) -> float | None:
    """Seconds of "try again in 1h2m3s", "… in 1.5s", "… in 500 ms"."""
    found = _HINT.search(message) if isinstance(message, str) else None
    if found is None:
        return None
    parts = _HINT_PART.findall(found[1])
    return sum(float(value) * _SECONDS[unit.lower()] for value, unit in parts)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def _later(now: float, seconds: float | None) -> float | None:
    return None if seconds is None else now + seconds


# What a failure that came as an event is as an HTTP status.
STATUS_BY_CODE = {
    "no_accounts": 503,
    "upstream_unavailable": 503,
    "server_is_overloaded": 503,
    "overloaded_error": 503,
    "invalid_api_key": 401,
    "insufficient_permissions": 403,
    "not_found": 404,
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    FOREIGN_CONTENT: 400,
    **dict.fromkeys(LIMIT_CODES, 429),
}


def status_for(error: Mapping[str, Any]) -> int:
    """The HTTP status of an error object, by its code, else its type."""
    found = UpstreamError(None, error)
    if found.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[found.code]
    kind = error.get("type")
    if isinstance(kind, str):
        return STATUS_BY_CODE.get(kind.lower(), 502)
    return 502
