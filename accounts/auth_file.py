"""Pure: reads the auth.json of Codex CLI, and the one of OpenCode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from accounts.claims import Claims, is_identifier, moment, read_claims
from accounts.identity import UNKNOWN_EMAIL, coerce_plan_type, local_account_ids

MAX_AUTH_FILE_BYTES = 1024 * 1024


class AuthFileError(ValueError):
    """The file cannot be used; the message says what is missing or wrong, and never quotes a token."""


@dataclass(frozen=True, slots=True)
class ParsedAuth:
    """A sign-in as a file has it. Empty text means that the file does not say."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    id_token: str = field(repr=False)
    claims: Claims
    chatgpt_account_id: str
    access_expires_at: datetime | None
    refreshed_at: datetime | None
    # Issued to us a moment ago, so that nobody else has spent the refresh token.
    is_fresh: bool = False

    @property
    def email(self) -> str:
        return self.claims.email or UNKNOWN_EMAIL

    @property
    def plan_type(self) -> str:
        return coerce_plan_type(self.claims.plan_type)

    @property
    def account_ids(self) -> list[str]:
        """The ids that the account may have here, best first."""
        return local_account_ids(
            chatgpt_account_id=self.chatgpt_account_id,
            workspace=self.claims.workspace_id or self.claims.workspace_label,
            email=self.claims.email,
            user_id=self.claims.user_id,
            seed=self.claims.user_id or self.refresh_token,
        )


def parse(data: bytes | str) -> ParsedAuth:
    """Raises AuthFileError."""
    content = _content(data)
    if "tokens" in content:
        return _codex(content)
    if "openai" in content:
        return _opencode(content["openai"])
    if _first(content, "OPENAI_API_KEY"):
        raise AuthFileError("auth.json holds an API key but no tokens: sign in with ChatGPT instead")
    raise AuthFileError("auth.json has no tokens")


def documents(text: str) -> list[str]:
    """The JSON objects that stand one after the other; text that is not such stays one piece."""
    found, position, decoder = [], 0, json.JSONDecoder()
    while (begin := len(text) - len(text[position:].lstrip())) < len(text):
        try:
            _, position = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError):
            return [text]
        found.append(text[begin:position])
    return found


def signed_in(answer: Mapping[str, Any], now: datetime) -> ParsedAuth:
    """What the sign-in service has answered to a code. Raises AuthFileError."""
    tokens = {name: answer.get(name) for name in ("id_token", "access_token", "refresh_token")}
    return replace(_codex({"tokens": tokens}), refreshed_at=now, is_fresh=True)


def dump(auth: ParsedAuth) -> str:
    """Text of which `parse` makes the same again, except for `is_fresh`."""
    if not auth.id_token:
        expires = int(auth.access_expires_at.timestamp() * 1000) if auth.access_expires_at else None
        tokens = {"type": "oauth", "access": auth.access_token, "refresh": auth.refresh_token}
        return json.dumps({"openai": tokens | {"accountId": auth.chatgpt_account_id, "expires": expires}})
    tokens = {
        "id_token": auth.id_token,
        "access_token": auth.access_token,
        "refresh_token": auth.refresh_token,
        "account_id": auth.chatgpt_account_id,
    }
    refreshed_at = auth.refreshed_at.isoformat() if auth.refreshed_at else None
    return json.dumps({"tokens": tokens, "last_refresh": refreshed_at})


def codex_file(auth: ParsedAuth) -> dict[str, Any]:
    """As Codex CLI writes it."""
    tokens = {"id_token": auth.id_token, "access_token": auth.access_token}
    tokens |= {"refresh_token": auth.refresh_token, "account_id": auth.chatgpt_account_id}
    refreshed_at = auth.refreshed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if auth.refreshed_at else None
    return {"auth_mode": "chatgpt", "OPENAI_API_KEY": None, "tokens": tokens, "last_refresh": refreshed_at}


def opencode_file(auth: ParsedAuth) -> dict[str, Any]:
    """As OpenCode writes it; its times are milliseconds."""
    expires = int(auth.access_expires_at.timestamp() * 1000) if auth.access_expires_at else 0
    tokens = {"type": "oauth", "refresh": auth.refresh_token, "access": auth.access_token}
    return {"openai": tokens | {"expires": expires, "accountId": auth.chatgpt_account_id}}


def _content(data: bytes | str) -> Mapping[str, Any]:
    if not data.strip():
        raise AuthFileError("auth.json is empty")
    try:
        content = json.loads(data)
    except UnicodeDecodeError:
        raise AuthFileError("auth.json is not text") from None
    except (ValueError, RecursionError):
        raise AuthFileError("auth.json is not valid JSON") from None
    if not isinstance(content, dict):
        raise AuthFileError("auth.json must be a JSON object")
    return content


def _codex(content: Mapping[str, Any]) -> ParsedAuth:
    tokens = content["tokens"]
    if not isinstance(tokens, dict):
        if tokens is None and _first(content, "OPENAI_API_KEY"):
            raise AuthFileError("auth.json holds an API key but no tokens: sign in with ChatGPT instead")
        raise AuthFileError("auth.json has no tokens" if tokens is None else "tokens must be an object")
    id_token = _token(tokens, "tokens.", "id_token", "idToken")
    access_token = _token(tokens, "tokens.", "access_token", "accessToken")
    refresh_token = _token(tokens, "tokens.", "refresh_token", "refreshToken")
    account_id = _account_id(tokens, "tokens.", "account_id", "accountId")
    access_claims = read_claims(access_token)
    claims = read_claims(id_token).or_else(access_claims)
    return ParsedAuth(
        access_token=access_token,
        refresh_token=refresh_token,
        id_token=id_token,
        claims=claims,
        chatgpt_account_id=account_id or claims.account_id,
        access_expires_at=access_claims.expires_at,
        refreshed_at=_time(_first(content, "last_refresh", "lastRefresh", "lastRefreshAt"))
        or access_claims.issued_at,
    )


def _opencode(tokens: object) -> ParsedAuth:
    """OpenCode keeps no id token: the access token tells who it is."""
    if not isinstance(tokens, dict) or tokens.get("type") != "oauth":
        raise AuthFileError('auth.json has no ChatGPT sign-in: openai.type must be "oauth"')
    access_token = _token(tokens, "openai.", "access")
    refresh_token = _token(tokens, "openai.", "refresh")
    claims = read_claims(access_token)
    account_id = _account_id(tokens, "openai.", "accountId")
    expires_ms = tokens.get("expires")
    stated = moment(expires_ms // 1000) if isinstance(expires_ms, int | float) else None
    return ParsedAuth(
        access_token=access_token,
        refresh_token=refresh_token,
        id_token="",
        claims=claims,
        chatgpt_account_id=account_id or claims.account_id,
        access_expires_at=claims.expires_at or stated,
        refreshed_at=claims.issued_at,
    )


def _first(content: Mapping[str, Any], *names: str) -> Any:
    return next((content[name] for name in names if content.get(name) is not None), None)


def _token(tokens: Mapping[str, Any], place: str, *names: str) -> str:
    value = _first(tokens, *names)
    if value is None:
        raise AuthFileError(f"auth.json has no {place}{names[0]}")
    if not isinstance(value, str):
        raise AuthFileError(f"{place}{names[0]} must be text")
    token = value.strip()
    if not token:
        raise AuthFileError(f"{place}{names[0]} is empty")
    # SECURITY: it becomes part of a header.
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise AuthFileError(f"{place}{names[0]} is not a token")
    return token


def _account_id(tokens: Mapping[str, Any], place: str, *names: str) -> str:
    value = _first(tokens, *names)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AuthFileError(f"{place}{names[0]} must be text")
    account_id = value.strip()
    if account_id and not is_identifier(account_id):
        raise AuthFileError(f"{place}{names[0]} is not an account id")
    return account_id


def _time(value: object) -> datetime | None:
    """A moment in ISO 8601; one without a zone is UTC."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(_cut_to_microseconds(value.strip()))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _cut_to_microseconds(text: str) -> str:
    """Codex CLI writes nanoseconds, which Python reads wrongly or not at all."""
    head, point, rest = text.partition(".")
    digits = len(rest) - len(rest.lstrip("0123456789"))
    return f"{head}.{rest[: min(digits, 6)]}{rest[digits:]}" if point and digits else text
