"""A small steady load of clients; each request has an id of its own, by which its record is found."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.e2e.asking import RESPONSES, events_of, turn
from tests.e2e.server import RECORDS, Server

Outcome = Literal["complete", "failed", "refused", "broken"]
CLIENT_TIMEOUT_S = 40.0
# Between two requests of one client: a load that is felt, and leaves the machine to others too.
PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Ended:
    """One request as its client saw it."""

    request_id: str
    outcome: Outcome
    status: int | None
    began: float
    at: float

    @property
    def took_s(self) -> float:
        return self.at - self.began


@dataclass(slots=True)
class Load:
    name: str = "load"
    ended: list[Ended] = field(default_factory=list)

    def outcomes(self, *, since: float = 0.0) -> Counter[str]:
        return Counter(each.outcome for each in self.ended if each.began >= since)

    def answered(self, *, before: float = float("inf")) -> set[str]:
        """The ids of those that got an answer, to its end, before a moment."""
        return {each.request_id for each in self.ended if each.outcome != "broken" and each.at < before}


def ask_once(
    connection: http.client.HTTPConnection, request_id: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[Outcome, int | None]:
    sent = {"Content-Type": "application/json", "x-request-id": request_id, **headers}
    try:
        connection.request("POST", RESPONSES, json.dumps(body), sent)
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return "broken", None
    if answer.status != 200:
        assert json.loads(content)["error"]["message"], content
        return "refused", answer.status
    last = events_of(content)[-1]["type"]
    assert last in ("response.completed", "response.failed"), content[-500:]
    return ("complete" if last == "response.completed" else "failed"), 200


@contextmanager
def loaded(
    server: Server,
    *,
    clients: int = 6,
    pause_s: float = PAUSE_S,
    body: Callable[[int], dict[str, Any]] = lambda number: turn(),
    headers: Callable[[int], dict[str, str]] = lambda number: {},
) -> Iterator[Load]:
    """Clients that ask again and again, while the block runs; at its end each finishes its request."""
    load = Load()
    over = threading.Event()

    def client(name: int) -> None:
        number = 0
        with closing(
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=CLIENT_TIMEOUT_S)
        ) as connection:
            while not over.is_set():
                number += 1
                request_id, began = f"{load.name}-{name}-{number}", time.monotonic()
                outcome, status = ask_once(connection, request_id, body(number), headers(number))
                load.ended.append(Ended(request_id, outcome, status, began, time.monotonic()))
                over.wait(pause_s if outcome != "broken" else 0.1)

    threads = ThreadPoolExecutor(clients)
    asking = [threads.submit(client, name) for name in range(clients)]
    try:
        yield load
    finally:
        over.set()
        ended, hanging = wait(asking, CLIENT_TIMEOUT_S + 10)
        threads.shutdown(wait=False)
    assert not hanging, "a client hangs"
    for each in ended:
        # What failed in a client fails the test.
        each.result()


def recorded(server: Server) -> Counter[str]:
    """How many records each request has."""
    return Counter(request_id for (request_id,) in server.query(f"SELECT request_id FROM {RECORDS}"))


def metric(server: Server, name: str) -> float:
    """One figure of /metrics; with labels, the sum over all of them."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    found = [float(line.rpartition(" ")[2]) for line in lines if line.startswith((name + " ", name + "{"))]
    assert found, f"there is no {name}"
    return sum(found)
