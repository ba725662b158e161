"""The data plane's websocket entry: refused for now, so that clients fall back to HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.answer import Send
from proxy.body import Receive


async def proxy_websocket(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """A close before the accept is answered as 403 by Daphne; Codex then goes on over HTTPS."""
    await receive()
    await send({"type": "websocket.close"})
