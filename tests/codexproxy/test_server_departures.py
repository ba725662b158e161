"""A request's inbox: messages in order, and one call when the client has left."""

from __future__ import annotations

import asyncio

import pytest

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


def test_a_reader_waits_for_the_next_message() -> None:
    async def taken() -> dict[str, object]:
        inbox = RequestInbox()
        reader = asyncio.ensure_future(inbox.get())
        await asyncio.sleep(0)
        assert not reader.done()
        inbox.put_nowait(BODY)
        return await reader

    assert asyncio.run(taken()) == BODY


def test_a_reader_that_gives_up_loses_no_message() -> None:
    async def taken() -> dict[str, object]:
        inbox = RequestInbox()
        reader = asyncio.ensure_future(inbox.get())
        await asyncio.sleep(0)
        reader.cancel()
        inbox.put_nowait(BODY)
        await asyncio.wait({reader})
        return await inbox.get()

    assert asyncio.run(taken()) == BODY


def test_a_second_reader_is_told_that_there_is_one() -> None:
    async def asks() -> None:
        inbox = RequestInbox()
        reader = asyncio.ensure_future(inbox.get())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already"):
            await inbox.get()
        inbox.put_nowait(BODY)
        assert await reader == BODY

    asyncio.run(asks())
