"""Tells a notice to a web address: one POST with JSON."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from accounts.notices.messages import DeliveryFailed, Message, payload, signature
from codexproxy.http import HttpClient, Timeouts, TransportFailed

CONNECT_TIMEOUT_S = 5.0
# For all of it: an answer that trickles must not hold up what comes next.
TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True)
class Webhook:
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)


async def post(
    client: HttpClient, webhook: Webhook, message: Message, *, now_s: float, timeout_s: float = TIMEOUT_S
) -> None:
    """Raises DeliveryFailed for anything but 2xx. A redirect is not followed, an answer's body not read."""
    body, timestamp = payload(message), int(now_s)
    headers = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"user-agent", b"codexproxy/0.1"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"identity"),
        (b"x-codexproxy-event", message.kind.encode()),
        (b"x-codexproxy-delivery", message.id.encode()),
        (b"x-codexproxy-timestamp", str(timestamp).encode()),
    ]
    if webhook.secret:
        headers.append((b"x-codexproxy-signature", signature(webhook.secret, timestamp, body).encode()))
    status = await _status(client, webhook.url, headers, body, timeout_s)
    if 300 <= status < 400:
        raise DeliveryFailed(f"It answered {status}: redirects are not followed, enter where it leads to.")
    if not 200 <= status < 300:
        raise DeliveryFailed(f"It answered {status}.")


async def _status(
    client: HttpClient, url: str, headers: list[tuple[bytes, bytes]], body: bytes, timeout_s: float
) -> int:
    try:
        async with asyncio.timeout(timeout_s):
            limits = Timeouts(min(CONNECT_TIMEOUT_S, timeout_s), timeout_s)
            response = await client.send("POST", url, headers, body, limits)
            await response.close()
            return response.status
    except TimeoutError:
        raise DeliveryFailed(f"There was no answer within {timeout_s:g} s.") from None
    except TransportFailed as failure:
        # SECURITY: the words of other failures may hold the address, which is a secret.
        if failure.kind == "connect":
            raise DeliveryFailed(f"It cannot be reached: {failure}") from None
        what = "There was no answer in time." if failure.kind == "timeout" else "The connection broke."
        raise DeliveryFailed(what) from None
