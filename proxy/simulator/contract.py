"""Pure: what the ChatGPT backend refuses, and what must never reach it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .tokens import encrypted_owner

REFUSED_FIELDS = (
    "max_output_tokens",
    "temperature",
    "top_p",
    "metadata",
    "user",
    "truncation",
    "safety_identifier",
    "prompt_cache_retention",
)
STATEFUL_FIELDS = ("previous_response_id", "conversation")
FORWARDING_HEADERS = ("forwarded", "x-real-ip", "true-client-ip", "via")
FORWARDING_PREFIXES = ("x-forwarded-", "cf-")

FOREIGN_MESSAGE = (
    "The encrypted content {start}... could not be verified. "
    "Reason: Encrypted content organization_id did not match the target organization."
)


def body_refusal(body: Any, *, websocket: bool = False, compact: bool = False) -> str | None:
    """The `detail` with which the backend refuses this body, or None."""
    if not isinstance(body, dict):
        return "Request body must be a JSON object"
    stateful = () if websocket else STATEFUL_FIELDS
    refused = [name for name in REFUSED_FIELDS if name in body]
    refused += [name for name in stateful if body.get(name) is not None]
    if refused:
        return f"Unsupported parameter: {refused[0]}"
    if not body.get("model"):
        return "Missing required parameter: model"
    if not isinstance(body.get("input"), list):
        return "Input must be a list"
    if compact:
        unknown = [name for name in ("store", "stream") if name in body]
        return f"Unsupported parameter: {unknown[0]}" if unknown else None
    if body.get("store") is not False:
        return "Store must be set to false"
    if body.get("stream") is not True and not websocket:
        return "Stream must be set to true"
    return None


def header_violations(headers: Mapping[str, str], *, any_auth: bool = False) -> Iterator[str]:
    """Sentences about headers that a proxy must not pass on."""
    for name in headers:
        if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIXES):
            yield f"the forwarding header {name} reached the upstream"
    if "cookie" in headers:
        yield "a Cookie header reached the upstream"
    if "x-api-key" in headers:
        yield "an x-api-key header reached the upstream"
    if not any_auth and bearer_token(headers).startswith("sk-"):
        yield "a client's own API key reached the upstream"


def bearer_token(headers: Mapping[str, str]) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def foreign_content(body: Mapping[str, Any], owner: str) -> str | None:
    """The first encrypted string in the input that `owner` cannot read."""
    for item in body.get("input") or ():
        content = item.get("encrypted_content") if isinstance(item, dict) else None
        if isinstance(content, str) and encrypted_owner(content) != owner:
            return content
    return None


def named_files(body: Mapping[str, Any]) -> Iterator[str]:
    """The uploaded files that the messages of a request refer to."""
    for item in body.get("input") or ():
        content = item.get("content") if isinstance(item, dict) else None
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(part.get("file_id"), str):
                yield part["file_id"]


def foreign_content_error(content: str, *, with_code: bool = True) -> dict[str, Any]:
    return {
        "error": {
            "message": FOREIGN_MESSAGE.format(start=content[:16]),
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_encrypted_content" if with_code else None,
        }
    }


def foreign_turn_state(headers: Mapping[str, str], owner: str) -> bool:
    state = headers.get("x-codex-turn-state", "")
    return state.startswith("turn.") and state.split(".")[1] != encoded_owner(owner)


def turn_state(owner: str, serial: str) -> str:
    return f"turn.{encoded_owner(owner)}.{serial}"


def encoded_owner(owner: str) -> str:
    return owner.encode().hex()
