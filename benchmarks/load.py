"""The load generator: raw sockets, so that what is measured is the server and not the client."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from dataclasses import asdict, dataclass, field, replace
from urllib.parse import urlsplit

from benchmarks.workloads import WORKLOADS, Workload, body, frame


@dataclass(slots=True)
class Measured:
    """Seconds; `first` is from the request's last byte to the first byte of an answer's body, `late` from an
    event's leaving upstream to its being here.
    """

    elapsed_s: float = 0.0
    first_s: list[float] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    failed: int = 0


# In a header: the request's number takes its place.
_NUMBER = b"{n}"
_SENT = re.compile(rb'"sent": ?"(\d{7}\.\d{6})"')


async def run(url: str, headers: dict[str, str], workload: Workload) -> Measured:
    parts = urlsplit(url)
    content = body(workload)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "content-type: application/json",
        "user-agent: benchmark",
        f"content-length: {len(content)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
    measured = Measured()
    left = iter(range(workload.requests))

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        for number in left:
            sent = request.replace(_NUMBER, b"%d" % number, 1)
            began = time.perf_counter()
            writer.write(sent)
            status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
            first = await reader.readuntil(b"\r\n")
            measured.first_s.append(time.perf_counter() - began)
            if status != 200:
                raise RuntimeError(f"{url} answered {status}: {first!r}")
            if not await _is_complete(reader, int(first, 16), workload.ending, measured.late_s):
                measured.failed += 1
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workload.at_once)))
    measured.elapsed_s = time.perf_counter() - began
    return measured


async def run_sockets(url: str, workload: Workload) -> Measured:
    """The turns of each socket come one after another."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"host: {parts.netloc}",
        "upgrade: websocket",
        "connection: Upgrade",
        "sec-websocket-version: 13",
        "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    handshake, request = "\r\n".join(lines).encode() + b"\r\n\r\n", frame(workload)
    measured = Measured()
    turns = workload.requests // workload.at_once

    async def worker() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        writer.write(handshake)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(f"{url} answered {head!r}")
        for _ in range(turns):
            began = time.perf_counter()
            writer.write(request)
            data = await _frame(reader)
            measured.first_s.append(time.perf_counter() - began)
            while b"response.completed" not in data:
                data = await _frame(reader)
                if b'"error"' in data or b"response.failed" in data:
                    measured.failed += 1
                    break
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(workload.at_once)))
    measured.elapsed_s = time.perf_counter() - began
    return measured


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A server's frame: not masked, not in parts."""
    head = await reader.readexactly(2)
    size = head[1]
    if size == 126:
        size = int.from_bytes(await reader.readexactly(2), "big")
    return await reader.readexactly(size)


async def _is_complete(reader: asyncio.StreamReader, size: int, ending: bytes, late_s: list[float]) -> bool:
    """Read the chunked body to its end; whether the terminal event was in it."""
    is_complete = False
    loop = asyncio.get_running_loop()
    while size:
        data = await reader.readexactly(size + 2)
        is_complete = is_complete or ending in data
        late_s += [loop.time() - sent for sent in map(float, _SENT.findall(data)) if sent]
        size = int(await reader.readuntil(b"\r\n"), 16)
    await reader.readexactly(2)
    return is_complete


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--workload", required=True)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    workload = next(workload for workload in WORKLOADS if workload.name == options.workload)
    requests = max(workload.at_once, int(workload.requests * options.scale))
    workload = replace(workload, requests=requests)
    headers = dict(header.split(": ", 1) for header in options.header)
    work = (
        run_sockets(options.url, workload) if workload.is_websocket else run(options.url, headers, workload)
    )
    print(json.dumps(asdict(asyncio.run(work))))


if __name__ == "__main__":
    main()
