"""Answers `manage.py doctor` through a reverse proxy: what of a request has arrived, and what passes back.

An address among those of clients, since a proxy may treat others in another way; raw ASGI, since Django would
drop headers and never sees an upgrade. Only a doctor of this install is answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner

from codexproxy import VERSION, locality

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATH = "/backend-api/doctor"
TOKEN_HEADER = b"x-codexproxy-doctor"
# How Codex named its session before; nginx drops such names unless it is told not to.
UNDERSCORE_HEADER = b"session_id"
EVENTS = 3
EVENT_GAP_S = 0.5
LONGEST_SILENCE_S = 900.0
_TOKEN_AGE_S = 1000
_STRANGER = "This is for manage.py doctor of this install."
_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_STORE = (b"cache-control", b"no-store")


def make_token() -> str:
    return _signer().sign("doctor")


def _signer() -> TimestampSigner:
    # SECURITY: signed with the install's key, so that this tells nobody else how it is reached.
    return TimestampSigner(salt="codexproxy.doctor")


async def probe(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
    is_known = is_doctors(scope["headers"])
    if scope["type"] == "websocket":
        await _over_websocket(receive, send, is_known=is_known)
        return
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    if not is_known:
        await _answer(send, 403, {"error": _STRANGER})
    elif "events" in query:
        await _stream(send)
    else:
        await asyncio.sleep(_silence_s(query))
        await _answer(send, 200, facts(scope, headers))


def facts(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    """What the doctor judges by."""
    known = locality.facts_from_scope(scope)
    client = locality.resolve_client(known, settings.TRUSTED_PROXIES)
    return {
        "version": VERSION,
        "peer": known.peer or "",
        "peer_is_trusted": locality.in_networks(locality.parse_address(known.peer), settings.TRUSTED_PROXIES),
        "host": known.host,
        "is_forwarded": known.forwarded,
        "forwarded_for": list(known.forwarded_for),
        "forwarded_proto": headers.get(b"x-forwarded-proto", b"").decode("latin-1"),
        "client": str(client or ""),
        "has_underscore_header": UNDERSCORE_HEADER in headers,
    }


def is_doctors(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a doctor of this install has sent these."""
    return any(_is_known(bytes(value)) for name, value in headers if bytes(name).lower() == TOKEN_HEADER)


def _is_known(token: bytes) -> bool:
    try:
        _signer().unsign(token.decode("latin-1"), max_age=_TOKEN_AGE_S)
    except BadSignature:
        return False
    return True


def _silence_s(query: Mapping[str, list[str]]) -> float:
    try:
        asked = float(query.get("silence", ["0"])[0])
    except ValueError:
        return 0.0
    # A number that is none compares with nothing and ends as 0.
    return min(asked, LONGEST_SILENCE_S) if asked > 0 else 0.0


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, _NO_STORE]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _stream(send: Send) -> None:
    """As a turn's events come: small, with time between them."""
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, _NO_STORE]})
    for number in range(EVENTS):
        event = f'data: {{"number":{number}}}\n\n'.encode()
        await send({"type": "http.response.body", "body": event, "more_body": True})
        await asyncio.sleep(EVENT_GAP_S)
    await send({"type": "http.response.body", "body": b""})


async def _over_websocket(receive: Receive, send: Send, *, is_known: bool) -> None:
    await receive()
    if is_known:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "here"})
    await send({"type": "websocket.close", "code": 1000 if is_known else 1008})
