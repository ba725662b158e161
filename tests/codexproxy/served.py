"""A small application under the real server, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import Any

from codexproxy.server_frames import MESSAGE_DONE, TEXT_FRAMES

EVENT = b"data: " + b"x" * 1016 + b"\n\n"
MIB = 1024 * 1024
# Every form of a frame's length, and one that is compressed where the client likes it.
BATCH = (1, 125, 126, 5000, 70_000, 3)
SMALL_BATCH = (1, 125, 126, 4000)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    path = scope["path"]
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif path == "/whole":
        await whole(receive, send)
    elif path == "/late":
        await late(receive, send)
    elif path in ("/broken", "/looked-at", "/broken-stream"):
        await fail(path, send)
    elif path == "/known":
        await known(receive, send)
    elif path == "/silent":
        return
    elif path == "/flood":
        await flood(receive, send)
    elif path == "/stream":
        await stream(receive, send)
    else:
        await echo(scope, receive, send)


async def fail(path: str, send: Any) -> None:
    if path == "/looked-at":
        # The server's regular look at all applications, in the very moment in which this one ends.
        asyncio.get_running_loop().call_soon(send.func.__self__.application_checker)
    if path == "/broken-stream":
        await start(send)
        await send({"type": "http.response.body", "body": b"some", "more_body": True})
    raise RuntimeError("broken on purpose")


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
    text = f"{os.getpid()} {sizes} {names} {deleted_files()} deleted files"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": False})


def deleted_files() -> int:
    """Temporary files without a name that this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        # The listing's own descriptor is closed by now.
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{name}").endswith("(deleted)")
    return count


async def known(receive: Any, send: Any) -> None:
    """Of how many requests the server still knows something."""
    await receive()
    await start(send)
    # The server's own method, for this request.
    text = f"{len(send.func.__self__.connections)} known"
    await send({"type": "http.response.body", "body": text.encode(), "more_body": False})


async def whole(receive: Any, send: Any) -> None:
    """A large answer in one message."""
    await receive()
    await start(send)
    await send({"type": "http.response.body", "body": bytes(12 * MIB), "more_body": False})
    print("written", file=sys.stderr, flush=True)


async def late(receive: Any, send: Any) -> None:
    """An answer that begins after half a second."""
    await receive()
    print("asked", file=sys.stderr, flush=True)
    await asyncio.sleep(0.5)
    await start(send)
    await send({"type": "http.response.body", "body": b"late", "more_body": False})


async def websocket(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Says whether the session's header came, then echoes."""
    await receive()
    path = scope["path"]
    if path == "/refused":
        assert "websocket.http.response" in scope["extensions"]
        head = {"status": 429, "headers": [(b"content-type", b"application/json"), (b"x-why", b"limit")]}
        await send({"type": "websocket.http.response.start", **head})
        await send({"type": "websocket.http.response.body", "body": b'{"error":"busy"}'})
        return
    if path == "/closed":
        return await send({"type": "websocket.close"})
    if path == "/broken":
        raise RuntimeError("broken on purpose")
    await send({"type": "websocket.accept", "headers": [(b"x-greeting", b"one"), (b"x-greeting", b"two")]})
    await send({"type": "websocket.send", "text": str(b"session_id" in dict(scope["headers"]))})
    if path == "/left":
        return
    if path == "/socket-flood":
        await socket_flood(send)
    while (message := await receive())["type"] == "websocket.receive":
        if message.get("text") == "close":
            print("closing", file=sys.stderr, flush=True)
            return await send({"type": "websocket.close", "code": 1012, "reason": "a successor is there"})
        await answer(message, scope, send)
        if path != "/keeps":
            await send({"type": MESSAGE_DONE})
    print(f"closed {message}", file=sys.stderr, flush=True)


async def answer(message: dict[str, Any], scope: dict[str, Any], send: Any) -> None:
    if message.get("text") == "much":
        await send({"type": "websocket.send", "text": "z" * (12 * MIB)})
    if message.get("text") == "batch":
        assert TEXT_FRAMES in scope["extensions"]
        await send({"type": TEXT_FRAMES, "frames": [b"x" * size for size in BATCH]})
        await send({"type": TEXT_FRAMES, "frames": [b"y" * size for size in SMALL_BATCH]})
    if message.get("text") == "sleep":
        print("asleep", file=sys.stderr, flush=True)
        await asyncio.sleep(1)
    content = {name: message[name] for name in ("text", "bytes") if message.get(name) is not None}
    await send({"type": "websocket.send", **content})


async def socket_flood(send: Any) -> None:
    produced = 0
    while produced < 300 * MIB:
        await send({"type": "websocket.send", "text": "x" * 16_384})
        produced += 16_384
        print(f"produced {produced}", file=sys.stderr, flush=True)


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
        serve_here(listening)
        return 0

    return Supervisor(workers, listening, work).run() if workers > 1 else work()


def serve_here(listening: socket.socket) -> None:
    # Here, because the reactor must not exist before a fork.
    from codexproxy.server import Lifespan, ServerOptions, serve
    from codexproxy.server_bodies import Heading, Refusal

    async def startup() -> None:
        if os.environ.get("FAIL_TO_START"):
            raise RuntimeError("start-up fails on purpose")

    async def shutdown() -> bool:
        print("shut down", flush=True)
        return True

    def admit(heading: Heading) -> Refusal | None:
        if (b"x-unwelcome", b"yes") in heading.headers:
            return Refusal(403, f"{heading.method} {heading.path} from {heading.peer} is not welcome")
        return None

    options = ServerOptions(
        body_limit=lambda path: 8 * MIB if path == "/small" else None,
        default_body_limit=64 * MIB,
        bodies_in_flight_limit=100 * MIB,
        is_apart=lambda path: path == "/apart",
        bodies_apart_limit=60 * MIB,
        admit=admit,
        admit_unseen=1000,
        request_stall_s=float(os.environ.get("REQUEST_STALL_S", "60")),
        pace_s=float(os.environ.get("PACE_S", "30")),
        write_stall_s=float(os.environ.get("WRITE_STALL_S", "60")),
        drain_s=5.0,
    )
    say_ready = lambda: print("ready\n", end="", flush=True)  # noqa: E731
    say_draining = lambda: print("draining\n", end="", flush=True)  # noqa: E731
    serve(application, listening, options, Lifespan(startup, shutdown, say_draining, say_ready))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
