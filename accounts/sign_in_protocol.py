"""Pure: what the sign-in service is asked, and what its answers and redirects mean."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from accounts.auth_file import AuthFileError, ParsedAuth, signed_in
from accounts.claims import moment
from accounts.token_answer import error_code

CLIENT_ID = "app_EMoamEEZ73f0CkXaXp7hrann"
SCOPE = "openid profile email offline_access"
ORIGINATOR = "codex_cli_rs"
CALLBACK_PATH = "/auth/callback"

DEVICE_LIFE = timedelta(seconds=900)
DEVICE_INTERVAL_S = 5
SLOWEST_INTERVAL_S = 60
MAX_PASTED = 8192
# Pending, whatever else the answer says; some of these come with other statuses too.
_PENDING_STATUSES = (403, 404)
_PENDING_CODES = ("authorization_pending", "slow_down")


class CallbackError(ValueError):
    """A redirected address that cannot be used; the message says what to do."""


class Declined(Exception):
    """The sign-in service has refused, or answered something that cannot be used."""

    def __init__(self, message: str, code: str = "oauth_failed") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Callback:
    """What the browser brings back: a code, or an error in the words of the sign-in service."""

    state: str = field(repr=False)
    code: str = field(repr=False)
    error: str = ""


@dataclass(frozen=True, slots=True)
class DeviceCode:
    device_auth_id: str = field(repr=False)
    user_code: str
    interval_s: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody has entered the code yet."""

    slower: bool = False


@dataclass(frozen=True, slots=True)
class Approved:
    code: str = field(repr=False)
    verifier: str = field(repr=False)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def authorization_url(*, auth_base_url: str, redirect_uri: str, state: str, verifier: str) -> str:
    query = {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": redirect_uri,
        "scope": SCOPE,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "state": state,
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "originator": ORIGINATOR,
    }
    return f"{auth_base_url}/oauth/authorize?{urlencode(query)}"


def exchange_form(*, code: str, verifier: str, redirect_uri: str) -> bytes:
    fields = {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": code,
        "code_verifier": verifier,
        "redirect_uri": redirect_uri,
    }
    return urlencode(fields).encode()


def read_callback(query: str) -> Callback:
    """From the query of a redirected address. Raises CallbackError."""
    try:
        pairs = parse_qsl(query, max_num_fields=50)
    except ValueError:
        raise CallbackError("The address has too many parts to be the one of a sign-in.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise CallbackError("The address names something twice, so it was not made by the sign-in service.")
    state, code, error = fields.get("state", ""), fields.get("code", ""), fields.get("error", "")
    if not state:
        raise CallbackError("The address has no state. Copy the whole of it, up to its last character.")
    if error:
        reason = _words(fields.get("error_description", "")) or _words(error) or "no reason given"
        return Callback(state, "", f"The sign-in service refused: {reason}")
    if not code:
        raise CallbackError("The address has no code. Copy the whole of it, up to its last character.")
    return Callback(state, code)


def read_pasted(text: str) -> Callback:
    """From what was copied out of the browser's address bar. Raises CallbackError."""
    pasted = text.strip()
    if not pasted:
        raise CallbackError("Paste the address that the browser ended on.")
    if len(pasted) > MAX_PASTED or any(character.isspace() for character in pasted):
        raise CallbackError("That is not one address. Copy only what stands in the browser's address bar.")
    try:
        parts = urlsplit(pasted)
    except ValueError:
        raise CallbackError("That is not an address.") from None
    if parts.path.endswith("/oauth/authorize"):
        raise CallbackError(
            "That is the address of the sign-in page. Finish the sign-in there, then copy the address that "
            f"the browser ends on: it contains {CALLBACK_PATH}?code=…"
        )
    query = parts.query or (pasted if "=" in pasted and not parts.scheme else "")
    if not query:
        raise CallbackError(f"The address should contain {CALLBACK_PATH}?code=… and have a state.")
    return read_callback(query.lstrip("?"))


def read_device_code(status: int, body: bytes, now: datetime) -> DeviceCode:
    """Raises Declined."""
    content = _object(body)
    if status == 404:
        raise Declined(
            "The sign-in service offers no device codes to this account. Use the browser sign-in.",
            "device_auth_unavailable",
        )
    user_code = _token(content.get("user_code")) or _token(content.get("usercode"))
    device_auth_id = _token(content.get("device_auth_id"))
    if status != 200 or not user_code or not device_auth_id:
        raise Declined(_refusal("No device code was given", status, content), "device_auth_failed")
    interval_s = min(_seconds(content.get("interval"), DEVICE_INTERVAL_S), SLOWEST_INTERVAL_S)
    return DeviceCode(device_auth_id, user_code, interval_s, _end_of(content, now))


def read_device_poll(status: int, body: bytes) -> Approved | Waiting:
    """Raises Declined."""
    content = _object(body)
    code = error_code(content)
    if status in _PENDING_STATUSES or code in _PENDING_CODES or status == 429 or status >= 500:
        return Waiting(slower=code == "slow_down" or status == 429)
    authorization_code = _token(content.get("authorization_code"))
    verifier = _token(content.get("code_verifier"))
    if status != 200 or not authorization_code or not verifier:
        raise Declined(_refusal("The device code was not accepted", status, content))
    return Approved(authorization_code, verifier)


def read_exchange(status: int, body: bytes, now: datetime) -> ParsedAuth:
    """Raises Declined."""
    content = _object(body)
    if status != 200:
        if error_code(content) == "invalid_grant":
            raise Declined("The sign-in code has expired or was used before. Start the sign-in again.")
        raise Declined(_refusal("The sign-in was not completed", status, content))
    try:
        auth = signed_in(content, now)
    except AuthFileError:
        raise Declined(
            "The sign-in service answered without usable tokens. Start the sign-in again."
        ) from None
    if not (auth.claims.email or auth.chatgpt_account_id):
        raise Declined("The sign-in service did not tell who has signed in. Start the sign-in again.")
    return auth


def _refusal(what: str, status: int, content: Mapping[str, Any]) -> str:
    code = error_code(content)
    return f"{what}: the sign-in service answered {status}{f' ({code})' if code else ''}. Start again."


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _token(value: object) -> str:
    is_token = isinstance(value, str) and 0 < len(value) <= 4096 and value.isascii() and value.isprintable()
    return str(value) if is_token else ""


def _end_of(content: Mapping[str, Any], now: datetime) -> datetime:
    """When a device code ends: never later than the service itself keeps one."""
    stated = content.get("expires_at")
    if isinstance(stated, str):
        try:
            stated = datetime.fromisoformat(stated).timestamp()
        except ValueError:
            stated = None
    end = moment(stated)
    if end is None or end <= now:
        end = now + timedelta(seconds=_seconds(content.get("expires_in"), int(DEVICE_LIFE.total_seconds())))
    return min(end, now + DEVICE_LIFE)


def _seconds(value: object, default: int) -> int:
    """The service writes numbers as text, too."""
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    whole = text.partition(".")[0]
    return int(whole[:9]) if whole.isdecimal() and int(whole[:9]) > 0 else default


def _words(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()[:200]
