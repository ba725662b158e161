"""What Prometheus is told of the data plane: counted once for each request, never for an event.

Every process of a server counts into files of one folder, so that whichever of them is asked answers for
all. The names of accounts, keys, models and errors are no labels: they have no end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from requestlogs.records import Record

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Seconds; upstream's first event usually comes within one to ten.
_FIRST_EVENT_BUCKETS = (0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
_OWN_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
_DURATION_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)
_FOLLOW_EVERY_S = 1.0


def share_between_processes(folder: Path) -> None:
    """Count into files of this folder, over all processes that fork from this one.

    It must be called before anything is counted.
    """
    os.environ[_FOLDER] = str(folder)
    # The library has chosen where to count when it was imported.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]


def forget_process(pid: int) -> None:
    """What a process that has died had open is open no longer; what it counted stays."""
    if _FOLDER in os.environ:
        mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_request = ("surface", "transport")
        self._requests = Counter(
            "codexproxy_requests",
            "Requests and turns of clients, by how they ended.",
            (*by_request, "outcome", "status"),
            registry=self.registry,
        )
        self._durations = Histogram(
            "codexproxy_request_duration_seconds",
            "From the request to the end of its answer.",
            by_request,
            buckets=_DURATION_BUCKETS,
            registry=self.registry,
        )
        self._first_events = Histogram(
            "codexproxy_first_event_seconds",
            "From the request to upstream's first event with substance.",
            by_request,
            buckets=_FIRST_EVENT_BUCKETS,
            registry=self.registry,
        )
        self._own = Histogram(
            "codexproxy_own_seconds",
            "What codexproxy itself added to the time until the first byte.",
            by_request,
            buckets=_OWN_BUCKETS,
            registry=self.registry,
        )
        self._attempts = Counter(
            "codexproxy_attempts", "Tries of single accounts, by their outcome.", ("outcome",),
            registry=self.registry,
        )  # fmt: skip
        self._failovers = Counter(
            "codexproxy_failovers", "Requests that more than one account was asked for.",
            registry=self.registry,
        )  # fmt: skip
        self._tokens = Counter(
            "codexproxy_tokens", "Tokens as upstream reported them.", ("kind",), registry=self.registry
        )
        # Finding a counter by its labels takes longer than counting. There are few of them.
        self._requests_of = cache(self._requests.labels)
        self._durations_of = cache(self._durations.labels)
        self._first_events_of = cache(self._first_events.labels)
        self._own_of = cache(self._own.labels)
        self._attempts_of = cache(self._attempts.labels)
        self._tokens_of = cache(self._tokens.labels)
        self._records_lost = Counter(
            "codexproxy_records_lost", "Request records that could not be written.", registry=self.registry
        )
        self.open_requests = Gauge(
            "codexproxy_open_requests", "Requests and turns that are being answered.",
            registry=self.registry, multiprocess_mode="livesum",
        )  # fmt: skip
        self._lag = Gauge(
            "codexproxy_event_loop_lag_seconds", "How late the event loop is, at worst of all processes.",
            registry=self.registry, multiprocess_mode="livemax",
        )  # fmt: skip

    def observe(self, record: Record) -> None:
        """A request that has ended."""
        surface = "codex" if record.path.startswith("/backend-api") else "v1"
        labels = (surface, record.transport)
        self._requests_of(*labels, record.status, str(record.status_code or "")).inc()
        if record.latency_ms is not None:
            self._durations_of(*labels).observe(record.latency_ms / 1000)
        if record.first_token_ms is not None:
            self._first_events_of(*labels).observe(record.first_token_ms / 1000)
        if record.split is not None:
            self._own_of(*labels).observe(record.split.own_ms / 1000)
        for attempt in record.attempts:
            self._attempts_of(attempt.outcome or "unfinished").inc()
        if len({attempt.account_id for attempt in record.attempts}) > 1:
            self._failovers.inc()
        tokens = record.tokens
        kinds = (
            ("input", tokens.input),
            ("cached_input", tokens.cached_input),
            ("output", tokens.output),
            ("reasoning", tokens.reasoning),
        )
        for kind, count in kinds:
            # A counter takes no negative count, and the record must not be lost for one.
            if count is not None and count > 0:
                self._tokens_of(kind).inc(count)

    async def follow(self, records_lost: Callable[[], int]) -> None:
        """What is seen from time to time. `records_lost` is this process's count."""
        loop = asyncio.get_running_loop()
        known = 0
        while True:
            due = loop.time() + _FOLLOW_EVERY_S
            await asyncio.sleep(_FOLLOW_EVERY_S)
            self._lag.set(max(0.0, loop.time() - due))
            lost = records_lost()
            self._records_lost.inc(lost - known)
            known = lost


@cache
def metrics() -> Metrics:
    return Metrics()


def exposition(*more: Collector) -> bytes:
    """All figures of all processes of this server, and those of `more`, as Prometheus reads them."""
    own = metrics().registry
    registry = CollectorRegistry()
    if _FOLDER in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    answer = generate_latest(registry if _FOLDER in os.environ else own)
    gauges = CollectorRegistry()
    for collector in more:
        gauges.register(collector)
    return answer + generate_latest(gauges)
