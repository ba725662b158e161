"""A request's inbox: messages in order, and one call when the client has left."""

from __future__ import annotations

import asyncio

from codexproxy.server_departures import RequestInbox

BODY = {"type": "http.request", "body": b"x", "more_body": False}
GONE = {"type": "http.disconnect"}


def test_messages_come_in_order() -> None:
    async def taken() -> list[str]:
        inbox = RequestInbox()
        inbox.put_nowait(BODY)
        inbox.put_nowait(GONE)
        return [(await inbox.get())["type"] for _ in range(2)]

    assert asyncio.run(taken()) == ["http.request", "http.disconnect"]


def test_a_departure_is_told_once() -> None:
    inbox, calls = RequestInbox(), []
    inbox.call_at_departure(lambda: calls.append("left"))
    inbox.put_nowait(BODY)
    assert calls == []
    inbox.put_nowait(GONE)
    inbox.put_nowait(GONE)
    assert calls == ["left"]


def test_a_client_that_has_left_already_is_told_of_at_once() -> None:
    inbox, calls = RequestInbox(), []
    inbox.put_nowait(GONE)
    inbox.call_at_departure(lambda: calls.append("left"))
    assert calls == ["left"]


def test_who_no_longer_waits_is_not_called() -> None:
    inbox, calls = RequestInbox(), []
    inbox.call_at_departure(lambda: calls.append("left"))
    inbox.call_at_departure(None)
    inbox.put_nowait(GONE)
    assert calls == []
