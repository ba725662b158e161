"""Towards the ChatGPT backend: sends requests, and turns what comes back or breaks into refusals."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Protocol

import msgspec

from codexproxy.http import Headers, HttpClient, Response, ResponseTooLarge, Timeouts, TransportFailed
from proxy import limits
from proxy.events import ACTIVE_LIMIT, UNREADABLE, error_object
from proxy.outcomes import UpstreamError
from usage.windows import model_limit_id


class Refusing(Protocol):
    """An answer that is not a 200."""

    @property
    def status(self) -> int: ...
    def header(self, name: bytes) -> str | None: ...
    async def read(self, limit: int) -> bytes: ...


class Upstream:
    def __init__(self, client: HttpClient, base_url: str) -> None:
        self._client = client
        # What the settings say; whoever swaps the snapshot keeps it true.
        self.silence_s = limits.UPSTREAM_SILENCE_S
        self._base_url = base_url
        self._responses_url = base_url + "/codex/responses"
        self._models_url = base_url + "/codex/models"

    async def respond(self, headers: Headers, body: bytes) -> Response:
        """Ask for a response. Raises TransportFailed."""
        return await self._client.send("POST", self._responses_url, headers, body, self._timeouts())

    async def forward(self, method: str, path: str, headers: Headers, body: bytes) -> Response:
        """Ask for whatever else is behind the base URL. Raises TransportFailed."""
        return await self._client.send(method, self._base_url + path, headers, body, self._timeouts())

    def _timeouts(self) -> Timeouts:
        return Timeouts(limits.CONNECT_TIMEOUT_S, self.silence_s)

    async def models(self, headers: Headers, query: str) -> Response:
        """Ask for the catalogue. Raises TransportFailed."""
        url = self._models_url + ("?" + query if query else "")
        timeouts = Timeouts(limits.CONNECT_TIMEOUT_S, limits.CATALOGUE_TIMEOUT_S)
        return await self._client.send("GET", url, headers, b"", timeouts)


async def refusal_of(response: Refusing) -> UpstreamError:
    """The refusal in an answer that is not a 200; whatever its body is, it has a message."""
    try:
        body = await response.read(limits.ERROR_BODY_LIMIT)
    except (ResponseTooLarge, TransportFailed):
        body = b""
    payload = _object(body)
    error = error_object(payload)
    if not any(isinstance(error.get(name), str) and error[name] for name in ("message", "code", "type")):
        error = {**error, "message": _status_text(response.status)}
    # HTML and empty bodies are not passed on: the envelope takes their place.
    limit_id = model_limit_id(response.header(ACTIVE_LIMIT.encode()))
    return UpstreamError(response.status, error, body if payload else b"", limit_id)


def _object(body: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(body)
    except UNREADABLE:
        return {}
    return payload if isinstance(payload, dict) else {}


def _status_text(status: int) -> str:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    return f"Upstream error: HTTP {status} {phrase}"


def broken(failure: TransportFailed) -> UpstreamError:
    """A connection that failed, as a refusal."""
    if failure.kind == "timeout":
        return UpstreamError(
            None, server_error("stream_idle_timeout", "Upstream has been silent for too long.")
        )
    if failure.kind == "connect":
        return UpstreamError(
            None, server_error("upstream_unavailable", f"Upstream cannot be reached: {failure}")
        )
    return UpstreamError(
        None, server_error("upstream_unavailable", f"The connection to upstream broke: {failure}")
    )


def server_error(code: str, message: str) -> dict[str, Any]:
    return {"type": "server_error", "code": code, "message": message}
