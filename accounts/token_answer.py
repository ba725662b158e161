"""Pure: what the sign-in service's answer to a refresh means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from accounts.claims import read_claims

_SIGNED_OUT = "The sign-in has ended. Sign in again."

SIGN_IN_REASONS: Mapping[str, str] = {
    "refresh_token_expired": "The sign-in has expired. Sign in again.",
    "refresh_token_reused": (
        "The refresh token was already used, perhaps by another program with the same auth.json. "
        "Sign in again."
    ),
    "refresh_token_invalidated": "The sign-in was revoked. Sign in again.",
    "invalid_grant": "The refresh token is no longer accepted. Sign in again.",
    "token_invalidated": "The sign-in was revoked. Sign in again.",
    "token_expired": "The sign-in has expired. Sign in again.",
    "app_session_terminated": _SIGNED_OUT,
    "account_session_expired": _SIGNED_OUT,
    "account_auth_invalidated": _SIGNED_OUT,
}
CLOSED_REASONS: Mapping[str, str] = {
    "account_deactivated": "OpenAI has deactivated the account.",
    "account_suspended": "OpenAI has suspended the account.",
    "account_deleted": "The account was deleted at OpenAI.",
}


class Refusal(Enum):
    SIGN_IN_NEEDED = "sign-in needed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Refused:
    """For good: asking again cannot help."""

    refusal: Refusal
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """For now; the message says what happened and quotes nothing that could be secret."""

    message: str


@dataclass(frozen=True, slots=True)
class Granted:
    """Empty text means that the answer leaves the former token in force."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    expires_at: datetime | None


def read_answer(status: int, body: bytes, now: datetime) -> Granted | Refused | Failed:
    content = _content(body)
    if status == 200:
        return _granted(content, now)
    code = error_code(content)
    # A crowded or broken service does not know about tokens, whatever it says.
    if 400 <= status < 500 and status != 429:
        if code in SIGN_IN_REASONS:
            return Refused(Refusal.SIGN_IN_NEEDED, code, SIGN_IN_REASONS[code])
        if code in CLOSED_REASONS:
            return Refused(Refusal.CLOSED, code, CLOSED_REASONS[code])
    shown = f" ({code})" if code else ""
    return Failed(f"The sign-in service answered {status}{shown}.")


def error_code(content: Mapping[str, Any]) -> str:
    """In lower case; empty when there is none that looks like a code."""
    error = content.get("error")
    nested = error.get("code") if isinstance(error, dict) else error
    found = next(
        (c for c in (nested, content.get("error_code"), content.get("code")) if isinstance(c, str) and c), ""
    )
    code = found.strip().lower()
    return code if len(code) <= 80 and code.isprintable() else ""


def _content(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _granted(content: Mapping[str, Any], now: datetime) -> Granted | Failed:
    access_token = _token(content.get("access_token"))
    if not access_token:
        return Failed("The sign-in service answered without a usable access token.")
    return Granted(
        access_token=access_token,
        refresh_token=_token(content.get("refresh_token")),
        id_token=_token(content.get("id_token")),
        expires_at=read_claims(access_token).expires_at or _in_seconds(content.get("expires_in"), now),
    )


def _token(value: object) -> str:
    # SECURITY: it becomes part of a header.
    is_token = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    return str(value) if is_token else ""


def _in_seconds(value: object, now: datetime) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**9:
        return None
    return now + timedelta(seconds=value)
