"""A small application under the real server, in a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

EVENT = b"data: " + b"x" * 1016 + b"\n\n"
MIB = 1024 * 1024


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    path = scope["path"]
    if path == "/flood":
        await flood(receive, send)
    elif path == "/stream":
        await stream(receive, send)
    else:
        await echo(scope, receive, send)


async def start(send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """How the body came, and which headers."""
    sizes = []
    while True:
        message = await receive()
        sizes.append(len(message.get("body", b"")))
        if not message.get("more_body"):
            break
    names = sorted(name.decode() for name, _ in scope["headers"])
    await start(send)
    text = f"{os.getpid()} {sizes} {names}"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": False})


async def flood(receive: Any, send: Any) -> None:
    """As fast as the reader takes it; says on standard error how much was produced."""
    await receive()
    await start(send)
    produced = 0
    try:
        while produced < 300 * MIB:
            await send({"type": "http.response.body", "body": EVENT * 16, "more_body": True})
            produced += 16 * len(EVENT)
            print(f"produced {produced}", file=sys.stderr, flush=True)
    finally:
        print("left", file=sys.stderr, flush=True)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def stream(receive: Any, send: Any) -> None:
    """Ten lines, one each 50 ms; says when the client has gone."""
    await receive()
    gone = asyncio.ensure_future(receive())
    await start(send)
    for number in range(10):
        await send({"type": "http.response.body", "body": f"{number}\n".encode(), "more_body": True})
        done, _ = await asyncio.wait({gone}, timeout=0.05)
        if done:
            print("gone", file=sys.stderr, flush=True)
            return
    gone.cancel()
    await send({"type": "http.response.body", "body": b"end\n", "more_body": False})


def main(port: int, workers: int) -> int:
    from codexproxy.supervisor import Supervisor, bind

    listening = bind("127.0.0.1", port)

    def work() -> int:
        from codexproxy.server import Lifespan, ServerOptions, serve

        async def nothing() -> None:
            return

        options = ServerOptions(
            body_limit=lambda path: 8 * MIB if path == "/small" else 64 * MIB,
            bodies_in_flight_limit=100 * MIB,
            write_stall_s=float(os.environ.get("WRITE_STALL_S", "60")),
            drain_s=5.0,
        )
        say_ready = lambda: print("ready", flush=True)  # noqa: E731
        serve(application, listening, options, Lifespan(nothing, nothing, lambda: None, say_ready))
        return 0

    return Supervisor(workers, work).run() if workers > 1 else work()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
