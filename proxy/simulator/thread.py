"""Serves a simulator from a background thread, so that a test can both reach it over TCP and look inside."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from .state import Simulator

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
# A frame carries a whole context.
FRAME_LIMIT = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Served:
    simulator: Simulator
    base_url: str
    port: int

    @property
    def codex_url(self) -> str:
        return f"{self.base_url}/backend-api/codex"


def websocket_support() -> Literal["websockets-sansio", "none"]:
    # The sans-I/O form, as the other one warns of its own deprecation.
    return "websockets-sansio" if find_spec("websockets") else "none"


def _server(simulator: Simulator, started: threading.Event) -> Any:
    import uvicorn  # only tests have it

    class Server(uvicorn.Server):
        """Starts and stops at once, where uvicorn's own looks every tenth of a second."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            self.loop = asyncio.get_running_loop()
            self.stopping = asyncio.Event()
            started.set()

        async def main_loop(self) -> None:
            await self.stopping.wait()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Held connections are the point of many tests: nothing waits for them.
            for listening in self.servers:
                listening.close()
            for connection in list(self.server_state.connections):
                connection.transport.abort()

        def stop(self) -> None:
            self.loop.call_soon_threadsafe(self.stopping.set)

    config = uvicorn.Config(
        simulator.app,
        lifespan="off",
        log_level="critical",
        access_log=False,
        server_header=False,
        ws=websocket_support(),
        ws_ping_interval=None,
        ws_max_size=FRAME_LIMIT,
    )
    return Server(config)


@contextmanager
def running(simulator: Simulator) -> Iterator[Served]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    port = listener.getsockname()[1]
    started = threading.Event()
    server = _server(simulator, started)
    thread = threading.Thread(target=server.run, args=([listener],), name="simulator", daemon=True)
    thread.start()
    try:
        if not started.wait(START_TIMEOUT_S):
            raise RuntimeError("the simulator did not start")
        yield Served(simulator, f"http://127.0.0.1:{port}", port)
    finally:
        if started.is_set():
            server.stop()
            thread.join(STOP_TIMEOUT_S)
        listener.close()
