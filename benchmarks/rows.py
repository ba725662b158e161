"""Fills a database with requests, and measures how long the dashboard takes over them.

    CODEXPROXY_DATA_DIR=/tmp/rows .venv/bin/python -m benchmarks.rows --count 1000000

makes the tables, stores the requests of the last 29 days with their hourly sums, and for every minute of them
a reading of each account's windows; then it prints the server's time and queries for each page. The CPU is
this process's own, without that of PostgreSQL. There: the same with CODEXPROXY_DATABASE_URL, or behind
scripts/postgres.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

BATCH = 5000
# Less than the default retention, which would delete the oldest.
DAYS = 29.0
ACCOUNTS = 12
ROUNDS = 15
# window → (minutes, how long before its end it is now)
WINDOWS = {"primary": (300, timedelta(hours=3)), "secondary": (10_080, timedelta(days=3))}
MODELS = ("gpt-5.5", "gpt-5.1", "gpt-5.1-codex-mini", "gpt-5.2", "unheard-of")
PAGES = (
    ("overview page", "/admin/"),
    ("overview of an hour", "/admin/?range=1h"),
    ("overview JSON", "/api/dashboard/overview"),
    ("summary JSON", "/api/usage/summary"),
    ("window JSON", "/api/usage/window"),
    ("history JSON", "/api/usage/history"),
    ("requests, first page", "/admin/requestlogs/requestrecord/"),
    ("requests, far down", "/admin/requestlogs/requestrecord/?before={middle}"),
    ("errors by cause", "/admin/errors/"),
    ("request log JSON", "/api/request-logs"),
)


def rows(count: int, days: float, now: datetime, rng: random.Random) -> Iterator[object]:
    """Oldest first, evenly over the days; one in twenty fails."""
    from requestlogs.models import RequestRecord

    step = timedelta(days=days) / max(1, count)
    for number in range(count):
        failed = rng.random() < 0.05
        inputs = rng.randrange(1000, 200_000)
        yield RequestRecord(
            request_id=f"bench-{number}",
            requested_at=now - timedelta(days=days) + number * step,
            account_id="" if failed else f"bench-{rng.randrange(ACCOUNTS)}",
            api_key_id=rng.choice((None, 1, 2)),
            client="codex_cli_rs/0.169.0",
            path="/backend-api/codex/responses",
            conversation=f"conversation-{number // 20}",
            model=rng.choice(MODELS),
            reasoning_effort=rng.choice((None, "medium", "high")),
            status="error" if failed else "success",
            status_code=429 if failed else 200,
            error_code=rng.choice(("usage_limit_reached", "server_error", "timeout")) if failed else None,
            input_tokens=None if failed else inputs,
            cached_input_tokens=None if failed else inputs * 4 // 5,
            output_tokens=None if failed else rng.randrange(50, 5000),
            cost_usd=None if failed else Decimal(rng.randrange(1, 900_000)) / 1_000_000,
            latency_ms=rng.randrange(500, 60_000),
            first_token_ms=None if failed else rng.randrange(300, 9_000),
            attempts=[{"account_id": "bench-1", "started_ms": 1, "outcome": "served", "status": 200}],
            routing={"why": "capacity_weighted", "passed_over": []},
        )


def readings(days: float, now: datetime) -> Iterator[object]:
    """Oldest first: one a minute of every account, as the server asks for them."""
    from usage.models import WindowSample

    for minute in range(int(days * 1440), -1, -1):
        for number in range(ACCOUNTS):
            at = now - timedelta(minutes=minute, seconds=5 * number)
            for window in WINDOWS:
                yield WindowSample(
                    account_id=f"bench-{number}",
                    window=window,
                    recorded_at=at,
                    **reading(number, window, at, now),
                )


def reading(number: int, window: str, at: datetime, now: datetime) -> dict[str, object]:
    """Each window fills up evenly until its end, of every account to another height."""
    minutes, left = WINDOWS[window]
    length = timedelta(minutes=minutes)
    before_end = (now + left - at) % length
    used_percent = 100 * (1 - before_end / length) * (number + 1) / ACCOUNTS
    return {"used_percent": round(used_percent, 1), "reset_at": at + before_end, "window_minutes": minutes}


def store(model: Any, made: Iterator[object]) -> None:
    while batch := list(islice(made, BATCH)):
        model.objects.bulk_create(batch)


def seed(count: int, days: float) -> None:
    from accounts.models import Account
    from requestlogs.models import RequestRecord
    from requestlogs.rollups import hour_of, rollups_rebuild
    from usage.models import CurrentWindow, WindowSample

    now = datetime.now(UTC)
    for number in range(ACCOUNTS):
        account, _ = Account.objects.get_or_create(
            pk=f"bench-{number}", defaults={"email": f"bench-{number}@example.com", "plan_type": "plus"}
        )
        for window in WINDOWS:
            known = {**reading(number, window, now, now), "recorded_at": now}
            CurrentWindow.objects.update_or_create(account=account, window=window, defaults=known)
    store(WindowSample, readings(days, now))
    # The same rows each time.
    store(RequestRecord, rows(count, days, now, random.Random(1)))  # noqa: S311
    rollups_rebuild(since=now - timedelta(days=days + 1), until=hour_of(now) + timedelta(hours=1))


def measure(rounds: int) -> None:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from requestlogs.models import RequestRecord
    from usage.models import WindowSample

    newest = RequestRecord.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    print(f"{newest} requests and {WindowSample.objects.count()} readings on {connection.vendor}")
    print(f"{'page':24}{'queries':>8}{'median ms':>12}{'fastest ms':>12}{'CPU ms':>12}")
    client = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    for name, path in PAGES:
        url = path.format(middle=newest // 2)
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(url)
        if answer.status_code != 200:
            raise SystemExit(f"{url} answered {answer.status_code}")
        asked = len(queries)
        taken, worked = [], []
        for _ in range(rounds):
            began, began_work = time.perf_counter(), time.process_time()
            client.get(url)
            taken.append(1000 * (time.perf_counter() - began))
            worked.append(1000 * (time.process_time() - began_work))
        figures = (statistics.median(taken), min(taken), statistics.median(worked))
        print(f"{name:24}{asked:8}" + "".join(f"{figure:12.1f}" for figure in figures))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="requests to store; 0 only measures")
    parser.add_argument("--days", type=float, default=DAYS, help="how far back they go")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each page is asked for")
    options = parser.parse_args(arguments)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codexproxy.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    if options.count:
        began = time.monotonic()
        seed(options.count, options.days)
        print(f"{options.count} requests stored in {time.monotonic() - began:.0f} s")
    measure(options.rounds)


if __name__ == "__main__":
    main()
