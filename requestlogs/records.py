"""Pure: what the data plane says about one request; the writer turns it into a row."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class TokenCounts:
    """Tokens as upstream reported them; reasoning tokens are part of the output tokens."""

    input: int | None = None
    cached_input: int | None = None
    output: int | None = None
    reasoning: int | None = None


@dataclass(slots=True)
class AttemptRecord:
    """One try of one account. Times are milliseconds since the request came in."""

    account_id: str
    started_ms: int
    outcome: str = ""
    status: int | None = None
    code: str | None = None
    message: str = ""
    first_event_ms: int | None = None
    ended_ms: int | None = None


@dataclass(slots=True)
class Split:
    """Where the time until the first byte of an answer went, in milliseconds.

    `queue`: until an account was looked for; `choose`: looking for one; `connect`: until upstream's status,
    in all attempts; `upstream`: from there to the first event with substance; `own`: all that is not
    upstream's.
    """

    queue_ms: float = 0.0
    choose_ms: float = 0.0
    connect_ms: float = 0.0
    upstream_ms: float = 0.0
    own_ms: float = 0.0

    def named(self) -> tuple[tuple[str, float], ...]:
        return (
            ("queue", self.queue_ms),
            ("choose", self.choose_ms),
            ("connect", self.connect_ms),
            ("upstream", self.upstream_ms),
            ("own", self.own_ms),
        )


@dataclass(slots=True)
class Record:
    """One client request, complete when it is given to the writer."""

    request_id: str
    requested_at: datetime
    # The same moment on the clock that only goes forward, in seconds: what every duration is measured from.
    began: float = field(default_factory=time.monotonic)
    path: str = ""
    transport: str = "http"
    client: str = ""
    client_address: str = ""
    api_key_id: int | None = None
    conversation: str = ""
    account_id: str = ""
    model: str = ""
    reasoning_effort: str | None = None
    service_tier: str = ""
    status: str = "error"
    status_code: int | None = None
    error_code: str | None = None
    error_message: str = ""
    tokens: TokenCounts = field(default_factory=TokenCounts)
    latency_ms: int | None = None
    first_token_ms: int | None = None
    # Pieces of the answer that were on their way to the client: all that is known of what a client that left
    # in the middle has got. Not stored.
    pieces_sent: int = 0
    # None while no account has served.
    split: Split | None = None
    attempts: list[AttemptRecord] = field(default_factory=list)
    routing: dict[str, object] = field(default_factory=dict)

    def elapsed_ms(self) -> float:
        """Since the request came in."""
        return (time.monotonic() - self.began) * 1000
