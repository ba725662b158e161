"""Pure: what goes wrong in the data plane, and how a client is told.

ProxyError
├── BadRequest          400  the client's own mistake
├── NotFound            404
├── MethodNotAllowed    405  carries Allow
├── AccessDenied        401, 403
├── Busy                429  carries Retry-After
├── TooLarge            413
└── Surfaced            any  no account could serve, or upstream's own refusal
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ProxyError(Exception):
    """An answer in the OpenAI error envelope."""

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        if self.param is not None:
            error["param"] = self.param
        error.update(self.extra)
        return error

    def body(self) -> bytes:
        return json.dumps({"error": self.error()}, ensure_ascii=False).encode()


class BadRequest(ProxyError):
    def __init__(
        self, message: str, *, code: str = "invalid_request_error", param: str | None = None
    ) -> None:
        super().__init__(400, code, message, param=param)


class NotFound(ProxyError):
    def __init__(self, path: str) -> None:
        served = (
            "POST /v1/responses, /v1/responses/compact, /v1/chat/completions, /v1/images/generations, "
            "/v1/images/edits and /v1/audio/transcriptions, GET /v1/models"
            if path.startswith("/v1")
            else "/backend-api/codex"
        )
        super().__init__(404, "not_found", f"There is nothing at {path}. Served here: {served}.")


class MethodNotAllowed(ProxyError):
    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(
            405,
            "invalid_request_error",
            f"{method} is not allowed here; use {allowed}.",
            headers=((b"allow", allowed.encode()),),
        )


class AccessDenied(ProxyError):
    def __init__(self, status: int, code: str, message: str, *, kind: str = "", param: str = "") -> None:
        kind = kind or ("authentication_error" if status == 401 else "permission_error")
        challenge = ((b"www-authenticate", b"Bearer"),) if status == 401 else ()
        super().__init__(status, code, message, type=kind, param=param or None, headers=challenge)


class Busy(ProxyError):
    """Too much at once, of everybody or of one client; trying again helps."""

    def __init__(self, message: str, retry_after_s: float, code: str = "server_busy") -> None:
        wait = b"%d" % max(1, round(retry_after_s))
        super().__init__(429, code, message, type="rate_limit_error", headers=((b"retry-after", wait),))


class TooLarge(ProxyError):
    def __init__(self, limit: int) -> None:
        message = f"The request body exceeds the maximum of {limit // (1024 * 1024)} MiB."
        super().__init__(413, "payload_too_large", message)


@dataclass(slots=True)
class Surfaced(ProxyError):
    """The end of the attempts: nobody could serve, or upstream's refusal is the client's business.

    `events` are upstream's own events up to the failure, `raw` its own body, where these may pass.
    """

    events: bytes = b""
    raw: bytes = b""

    def body(self) -> bytes:
        return self.raw or ProxyError.body(self)


def failed_event(error: Mapping[str, Any], response_id: str, created_at: int) -> bytes:
    """The event that ends a stream which has already begun."""
    return b"event: response.failed\ndata: " + response_failed(error, response_id, created_at) + b"\n\n"


def response_failed(error: Mapping[str, Any], response_id: str, created_at: int) -> bytes:
    """The data of that event."""
    response = {
        "object": "response",
        "id": response_id,
        "created_at": created_at,
        "status": "failed",
        "error": {"code": error.get("code"), "message": error.get("message"), **dict(error)},
        "incomplete_details": None,
    }
    return json.dumps({"type": "response.failed", "response": response}, ensure_ascii=False).encode()


def created_event(response_id: str, created_at: int, model: str) -> bytes:
    """What goes before that event when nothing else has: OpenAI's clients take no other as the first."""
    response = {
        "object": "response",
        "id": response_id,
        "created_at": created_at,
        "status": "in_progress",
        "model": model,
        "output": [],
        "error": None,
        "incomplete_details": None,
    }
    data = json.dumps({"type": "response.created", "response": response}, ensure_ascii=False).encode()
    return b"event: response.created\ndata: " + data + b"\n\n"
