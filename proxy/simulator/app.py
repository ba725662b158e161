"""The ASGI application of the simulated upstream: routing, journal, and the outer edge of each connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from . import backend, control, files, oauth, responses
from .asgi import ASGIApplication, Client, Receive, Scope, Send
from .exchange import Exchange, note_header_violations, read_exchange
from .state import Simulator
from .websocket import serve_websocket

Handler = Callable[[Exchange, Any], Awaitable[None]]

# Matched at the end of the path, so that any prefix may stand in front.
ROUTES: dict[tuple[str, str], Handler] = {
    ("POST", "/backend-api/codex/responses"): responses.respond,
    ("POST", "/backend-api/codex/responses/compact"): responses.compact,
    ("POST", "/backend-api/files"): files.create,
    ("POST", "/backend-api/transcribe"): files.transcribe,
    **dict.fromkeys(backend.CONTROL, backend.control),
    ("GET", "/backend-api/codex/models"): backend.models,
    ("GET", "/backend-api/wham/usage"): backend.usage,
    ("GET", "/backend-api/wham/accounts/check"): backend.accounts_check,
    ("POST", "/oauth/token"): oauth.token,
    ("GET", "/oauth/authorize"): oauth.authorize,
    ("POST", "/api/accounts/deviceauth/usercode"): oauth.device_user_code,
    ("POST", "/api/accounts/deviceauth/token"): oauth.device_token,
    ("GET", "/codex/device"): oauth.device_page,
}

CONTROL_ROUTES: dict[tuple[str, str], Handler] = {
    ("GET", "/__sim__/journal"): control.journal,
    ("GET", "/__sim__/violations"): control.violations,
    ("GET", "/__sim__/refreshes"): control.refreshes,
    ("GET", "/__sim__/accounts"): control.list_accounts,
    ("POST", "/__sim__/reset"): control.reset,
    ("PUT", "/__sim__/switches"): control.set_switches,
}


def application(sim: Simulator) -> ASGIApplication:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        client = Client(receive)
        try:
            if scope["type"] == "websocket":
                await serve_websocket(sim, scope, client, send)
            else:
                await _serve_http(sim, scope, client, send)
        finally:
            client.close()

    return app


async def _serve_http(sim: Simulator, scope: Scope, client: Client, send: Send) -> None:
    exchange, body = await read_exchange(sim, scope, client, send)
    if exchange.received.path.startswith("/__sim__/"):
        return await _control(exchange, body)
    sim.record(exchange.received)
    note_header_violations(sim, exchange.received)
    handler = _handler(exchange.received.method, exchange.received.path)
    if handler is None:
        return await exchange.json(404, {"detail": "Not Found"})
    await handler(exchange, body)


def _handler(method: str, path: str) -> Handler | None:
    if method == "POST" and "/backend-api/files/" in path and path.endswith("/uploaded"):
        return files.uploaded
    for (wanted, ending), handler in ROUTES.items():
        if method == wanted and path.endswith(ending):
            return handler
    return None


async def _control(exchange: Exchange, body: Any) -> None:
    method, path = exchange.received.method, exchange.received.path
    if method == "PUT" and path.startswith("/__sim__/accounts/"):
        return await control.set_account(exchange, body)
    handler = CONTROL_ROUTES.get((method, path))
    if handler is None:
        return await exchange.json(404, {"detail": "Not Found"})
    await handler(exchange, body)
