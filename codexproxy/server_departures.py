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


class RequestInbox(asyncio.Queue[dict[str, Any]]):
    """The messages of one request."""

    _has_left = False
    _on_departure: OnDeparture | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        super().put_nowait(message)
        if message["type"] == "http.disconnect":
            self._has_left = True
            self._tell()

    def call_at_departure(self, call: OnDeparture | None) -> None:
        """At once for a client that has left already."""
        self._on_departure = call
        if self._has_left:
            self._tell()

    def _tell(self) -> None:
        call, self._on_departure = self._on_departure, None
        if call is not None:
            call()
