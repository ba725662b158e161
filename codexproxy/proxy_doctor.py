"""Asks the install through its own public address, and judges what the reverse proxy in between does.

Each finding's fix is given for nginx, in words that fit others. No other address is asked, and no redirect is
followed.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

from codexproxy.doctor import Finding
from codexproxy.http import HandshakeRefused, HttpClient, ResponseTooLarge, Timeouts, TransportFailed
from codexproxy.locality import parse_address
from codexproxy.proxy_probe import EVENT_GAP_S, EVENTS, PATH, TOKEN_HEADER, UNDERSCORE_HEADER

ABOUT = "reverse proxy"
# Of a network that is for documentation: nobody has it.
FORGED_ADDRESS = "203.0.113.77"
# Over nginx's own limit of 1 MiB.
BODY_BYTES = 1536 * 1024
_ANSWER_BYTES = 64 * 1024
_PATIENCE_S = 15.0


class NotOurs(Exception):
    """Somebody answers, and it is not this install; `finding` says so."""

    def __init__(self, found: str, fix: str) -> None:
        super().__init__(found)
        self.finding = Finding("problem", "public address", found, fix)


@dataclass(frozen=True, slots=True)
class Asked:
    """The public address, and how to be recognised behind it."""

    client: HttpClient
    base_url: str
    token: str

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        return [
            (b"user-agent", b"codexproxy-doctor"),
            (b"accept-encoding", b"identity"),
            (TOKEN_HEADER, self.token.encode()),
        ]

    def url(self, query: str = "") -> str:
        return self.base_url.rstrip("/") + PATH + query


def check_proxy(base_url: str, token: str, *, silence_s: float = 0.0) -> list[Finding]:
    """`silence_s` is how long an answer is kept back to see whether the proxy waits for it."""
    return asyncio.run(_checked(base_url, token, silence_s))


async def _checked(base_url: str, token: str, silence_s: float) -> list[Finding]:
    client = HttpClient()
    asked = Asked(client, base_url, token)
    try:
        seen = await _facts(asked)
        found = [Finding("ok", "public address", f"{base_url} leads here")]
        found += judge_facts(seen, base_url)
        found.append(judge_arrivals(await _arrivals(asked)))
        found.append(await _upgrade(asked))
        found.append(await _large_body(asked))
        found.append(await _silence(asked, silence_s))
    except NotOurs as other:
        return [other.finding]
    except (TransportFailed, ResponseTooLarge) as failure:
        return [_unreachable(base_url, str(failure))]
    finally:
        await client.close()
    return found


def _unreachable(base_url: str, why: str) -> Finding:
    fix = (
        "See that the proxy runs, that this machine may reach its own public address, and that its "
        "certificate is one that clients accept."
    )
    return Finding("problem", "public address", f"{base_url} cannot be asked from here: {why}", fix)


async def _facts(asked: Asked) -> dict[str, Any]:
    forged = [(UNDERSCORE_HEADER, b"doctor"), (b"x-forwarded-for", FORGED_ADDRESS.encode())]
    status, body = await _read(asked, "GET", asked.url(), forged)
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if status == 200 and isinstance(answer, dict) and "peer" in answer:
        return answer
    raise _not_ours(asked.base_url, status, is_codexproxy=isinstance(answer, dict) and "error" in answer)


def _not_ours(base_url: str, status: int, *, is_codexproxy: bool) -> NotOurs:
    if status == 403 and is_codexproxy:
        return NotOurs(
            f"{base_url} leads to an install with another encryption key",
            "Correct the address, or give every replica the same key.",
        )
    if status in (502, 503, 504):
        return NotOurs(
            f"{base_url} answers {status}: the proxy does not reach codexproxy",
            "Start codexproxy, and see that proxy_pass names the address and port that it listens on.",
        )
    if status in range(300, 400):
        return NotOurs(
            f"{base_url} answers {status} and leads elsewhere",
            "Name the address that it leads to: clients do not follow it with their request.",
        )
    return NotOurs(
        f"{base_url} answers {status}, and not as this version of codexproxy does",
        "Let the proxy pass every path on, /backend-api/ and /v1/ among them.",
    )


def judge_facts(seen: dict[str, Any], base_url: str) -> Iterator[Finding]:
    """What arrived of a request that named a forged address and a header with an underscore."""
    yield _judge_underscore(seen)
    yield _judge_host(seen, base_url)
    yield _judge_address(seen)
    if urlsplit(base_url).scheme == "https":
        yield _judge_scheme(seen)


def _judge_underscore(seen: dict[str, Any]) -> Finding:
    if seen["has_underscore_header"]:
        return Finding("ok", ABOUT, "headers with underscores arrive")
    return Finding(
        "problem",
        ABOUT,
        "headers with underscores are dropped, so conversations of older Codex versions are not recognised",
        "nginx: underscores_in_headers on; in the server block.",
    )


def _judge_host(seen: dict[str, Any], base_url: str) -> Finding:
    wanted = urlsplit(base_url)
    arrived = urlsplit(f"//{seen['host']}")
    if _site(arrived, wanted.scheme) == _site(wanted, wanted.scheme):
        return Finding("ok", ABOUT, "the host arrives as it was asked for")
    return Finding(
        "problem",
        ABOUT,
        f"the host arrives as {seen['host']!r}: the dashboard refuses its forms",
        "nginx: proxy_set_header Host $http_host;",
    )


def _site(parts: SplitResult, scheme: str) -> tuple[str | None, int]:
    return parts.hostname, parts.port or (443 if scheme == "https" else 80)


def _judge_address(seen: dict[str, Any]) -> Finding:
    hops, peer = seen["forwarded_for"], seen["peer"]
    if hops == [FORGED_ADDRESS]:
        return Finding(
            "problem", ABOUT, "X-Forwarded-For arrives as the client wrote it: anybody may name any address",
            "nginx: proxy_set_header X-Forwarded-For $remote_addr;",
        )  # fmt: skip
    if not hops:
        return Finding(
            "problem", ABOUT, f"X-Forwarded-For does not arrive: every client looks like {peer}",
            "nginx: proxy_set_header X-Forwarded-For $remote_addr; (or there is no proxy, and nothing to do)",
        )  # fmt: skip
    if not seen["peer_is_trusted"]:
        return Finding(
            "problem", ABOUT, f"its headers are not believed, as {peer} is not named as a proxy",
            f"CODEXPROXY_TRUSTED_PROXIES={peer} (or its network), and start the server again.",
        )  # fmt: skip
    if parse_address(seen["client"]) == parse_address(FORGED_ADDRESS):
        return Finding(
            "problem", ABOUT, "the address that a client claims is believed",
            "Let the outermost proxy set X-Forwarded-For, and name no network of clients in "
            "CODEXPROXY_TRUSTED_PROXIES.",
        )  # fmt: skip
    return Finding(
        "ok", ABOUT, f"clients keep their own address ({seen['client'] or 'unknown'} is this one's)"
    )


def _judge_scheme(seen: dict[str, Any]) -> Finding:
    arrived = seen["forwarded_proto"]
    if arrived.split(",")[-1].strip().lower() == "https":
        return Finding("ok", ABOUT, "it says that clients come over https")
    said = f"X-Forwarded-Proto arrives as {arrived!r}" if arrived else "X-Forwarded-Proto does not arrive"
    return Finding(
        "problem",
        ABOUT,
        f"{said}: forms of the dashboard are refused, and its cookies are not Secure",
        "nginx: proxy_set_header X-Forwarded-Proto $scheme;",
    )


async def _arrivals(asked: Asked) -> list[float]:
    """When each event came."""
    response = await asked.client.send("GET", asked.url("?events=1"), asked.headers, timeouts=_timeouts())
    came: list[float] = []
    try:
        async for block in response.blocks():
            came += [time.monotonic()] * block.count(b"data:")
    finally:
        await response.close()
    return came


def judge_arrivals(came: list[float]) -> Finding:
    if len(came) < EVENTS:
        return Finding(
            "problem",
            ABOUT,
            f"of {EVENTS} events of a stream {len(came)} arrived",
            "See the proxy's error log.",
        )
    # The clocks of both ends need not agree: the time between the first and the last one tells.
    if came[-1] - came[0] > (EVENTS - 1) * EVENT_GAP_S / 2:
        return Finding("ok", ABOUT, "events arrive as they are sent")
    return Finding(
        "problem",
        ABOUT,
        "it keeps events back and delivers them together: nothing is seen until a turn is over",
        "nginx: proxy_buffering off; and no gzip of text/event-stream. Caddy: flush_interval -1",
    )


async def _upgrade(asked: Asked) -> Finding:
    url = "ws" + asked.url().removeprefix("http")
    why = ""
    try:
        socket = await asked.client.connect(
            url, asked.headers, message_limit=_ANSWER_BYTES, timeouts=_timeouts()
        )
        try:
            await socket.receive(_PATIENCE_S)
        finally:
            await socket.close()
    except HandshakeRefused as refused:
        why = f"the upgrade was answered with {refused.status}"
    except TransportFailed as failure:
        why = str(failure)
    if not why:
        return Finding("ok", ABOUT, "websockets open")
    return Finding(
        "problem",
        ABOUT,
        f"websockets do not open ({why}): Codex falls back to HTTP",
        "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
        "proxy_set_header Connection $connection_upgrade; (docs/deployment/nginx.conf has the map)",
    )


async def _large_body(asked: Asked) -> Finding:
    size = f"{BODY_BYTES / 1024**2:g} MiB"
    try:
        status, _ = await _read(asked, "POST", asked.url(), [], bytes(BODY_BYTES))
    except TransportFailed as failure:
        # Refused by a proxy that does not wait for the rest of it.
        status, why = 0, str(failure)
    else:
        why = "413"
    if status not in (0, 413):
        return Finding("ok", ABOUT, f"a body of {size} passes (whether one of 128 MiB does was not tried)")
    return Finding(
        "problem",
        ABOUT,
        f"a body of {size} is refused ({why}): long conversations fail",
        "nginx: client_max_body_size 128m;",
    )


async def _silence(asked: Asked, silence_s: float) -> Finding:
    if not silence_s:
        return Finding(
            "ok", ABOUT, "whether it waits for a silent answer was not tried",
            "Many give up after 60 s. To try it: manage.py doctor --silence 75. "
            "nginx: proxy_read_timeout 900s; proxy_send_timeout 900s;",
        )  # fmt: skip
    timeouts = Timeouts(connect_s=_PATIENCE_S, read_s=silence_s + _PATIENCE_S)
    began = time.monotonic()
    try:
        status, _ = await _read(asked, "GET", asked.url(f"?silence={silence_s:g}"), [], timeouts=timeouts)
        why = f"answered {status}"
    except TransportFailed as failure:
        status, why = 0, str(failure)
    if status == 200:
        return Finding("ok", ABOUT, f"it waits {silence_s:g} s for an answer")
    return Finding(
        "problem",
        ABOUT,
        f"it gives up after {time.monotonic() - began:.0f} s of silence ({why}): longer turns break off",
        "nginx: proxy_read_timeout 900s; proxy_send_timeout 900s;",
    )


async def _read(
    asked: Asked,
    method: str,
    url: str,
    headers: list[tuple[bytes, bytes]],
    content: bytes = b"",
    timeouts: Timeouts | None = None,
) -> tuple[int, bytes]:
    response = await asked.client.send(
        method, url, [*asked.headers, *headers], content, timeouts=timeouts or _timeouts()
    )
    try:
        return response.status, await response.read(_ANSWER_BYTES)
    finally:
        await response.close()


def _timeouts() -> Timeouts:
    return Timeouts(connect_s=_PATIENCE_S, read_s=_PATIENCE_S)
