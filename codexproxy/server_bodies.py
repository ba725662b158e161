"""Pure: what is known of a request before its body is read, and how it is refused then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES = {413: "payload_too_large", 429: "server_busy"}


@dataclass(frozen=True, slots=True)
class Heading:
    """A request at the end of its headers. `peer` is the socket's other end, not what a header claims."""

    method: str
    path: str
    peer: str
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is given instead of reading the body; without `body` the server words it."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes | None = None


@dataclass(slots=True)
class BodyBudget:
    """The bytes of all bodies in flight in this process."""

    limit: int
    used: int = 0

    def reserve(self, size: int) -> bool:
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def release(self, size: int) -> None:
        self.used -= size


def openai_error(status: int, path: str, message: str) -> bytes:
    """The error object that OpenAI's clients know. `path` is for others' formats."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = _CODES.get(status, "server_error" if status >= 500 else "invalid_request")
    return json.dumps({"error": {"message": message, "type": kind, "code": code}}).encode()


def answer_and_close(refusal: Refusal, body: bytes) -> bytes:
    """The whole answer on the wire."""
    lines = [
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}".encode(),
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: close",
        *(name + b": " + value for name, value in refusal.headers),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
