"""What is measured: how many requests, how many at once, how many events at which pace."""

from __future__ import annotations

import json
from dataclasses import dataclass

EVENTS = 50
# What one answer is: the preamble, the deltas, the terminal event.
EVENTS_OF_ANSWER = EVENTS + 2
# By the request's model: seconds between two events.
PACES = {b'"bench-steady"': 0.02, b'"bench-slow"': 0.25}


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    requests: int
    at_once: int
    model: str = "gpt-5.5"
    # A dialect that only codexproxy speaks: compared with its own native rate.
    path: str = ""
    ending: bytes = b"response.completed"
    is_websocket: bool = False

    @property
    def is_native(self) -> bool:
        return not self.path


SINGLE = Workload("single", requests=150, at_once=1)
BURST = Workload("burst", requests=800, at_once=32)
STEADY = Workload("steady", requests=400, at_once=200, model="bench-steady")
# So many streams open at once, an event each quarter of a second.
SCALES = tuple(Workload(f"open {n}", n, n, model="bench-slow") for n in (50, 200, 1000))
CHAT = Workload("chat", requests=800, at_once=32, path="/v1/chat/completions", ending=b"data: [DONE]")
# Ten turns on each of 32 sockets; to be compared with the same events over HTTP, which is BURST.
SOCKETS = Workload("sockets", requests=320, at_once=32, is_websocket=True)
WORKLOADS = (SINGLE, BURST, STEADY, *SCALES, CHAT, SOCKETS)


def body(workload: Workload) -> bytes:
    """A request of a usual size: about 20 kB, as a coding agent's second turn is."""
    if not workload.is_native:
        messages = [{"role": "user", "content": "lorem ipsum " * 150} for _ in range(10)]
        return json.dumps({"model": workload.model, "messages": messages, "stream": True}).encode()
    items = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "lorem ipsum " * 150}]}
        for _ in range(10)
    ]
    return json.dumps({"model": workload.model, "input": items, "store": False, "stream": True}).encode()


def frame(workload: Workload) -> bytes:
    """The same request as a websocket's frame, under a mask of zeros."""
    payload = json.dumps({"type": "response.create", **json.loads(body(workload))}).encode()
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload
