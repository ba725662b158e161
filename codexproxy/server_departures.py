"""What an application receives of one HTTP request, and an extension of ASGI of our own: a call at departure.

An application that awaits its `receive` for the client's departure keeps a task for it, which takes more of
a short request than anything else of ours. Any other ASGI server announces no such extension.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

# The name of the extension. Its value takes what is called once when the client has left, or None.
DEPARTURE = "codexproxy.departure"

OnDeparture = Callable[[], None]


class RequestInbox:
    """The messages of one request, for one reader. A stream of hours keeps it: a queue's locks and deques
    would be a twentieth of all that an open stream takes.
    """

    __slots__ = ("_messages", "_arrival", "_has_left", "_on_departure")

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._arrival: asyncio.Future[None] | None = None
        self._has_left = False
        self._on_departure: OnDeparture | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
        if message["type"] == "http.disconnect":
            self._has_left = True
            self._tell()

    async def get(self) -> dict[str, Any]:
        """The next message. Raises RuntimeError where another task waits for it."""
        if self._arrival is not None:
            raise RuntimeError("the next message of this request is waited for already")
        while not self._messages:
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return self._messages.pop(0)

    def call_at_departure(self, call: OnDeparture | None) -> None:
        """At once for a client that has left already."""
        self._on_departure = call
        if self._has_left:
            self._tell()

    def _tell(self) -> None:
        call, self._on_departure = self._on_departure, None
        if call is not None:
            call()
