"""Fills a database with requests, and measures how long the dashboard takes over them.

    CODEXPROXY_DATA_DIR=/tmp/rows .venv/bin/python -m benchmarks.rows --count 1000000

makes the tables, stores the requests of the last 30 days with their hourly sums, and prints the server's time
and queries for each page. On PostgreSQL: the same with CODEXPROXY_DATABASE_URL, or behind scripts/postgres.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

BATCH = 5000
DAYS = 29
ACCOUNTS = 12
ROUNDS = 15
MODELS = ("gpt-5.5", "gpt-5.1", "gpt-5.1-codex-mini", "gpt-5.2", "unheard-of")
PAGES = (
    ("overview page", "/admin/"),
    ("overview JSON", "/api/dashboard/overview"),
    ("summary JSON", "/api/usage/summary"),
    ("requests, first page", "/admin/requestlogs/requestrecord/"),
    ("requests, far down", "/admin/requestlogs/requestrecord/?before={middle}"),
    ("errors by cause", "/admin/errors/"),
    ("request log JSON", "/api/request-logs"),
)


def rows(count: int, now: datetime, rng: random.Random) -> Iterator[object]:
    """Oldest first, evenly over the days; one in twenty fails."""
    from requestlogs.models import RequestRecord

    step = timedelta(days=DAYS) / max(1, count)
    for number in range(count):
        failed = rng.random() < 0.05
        inputs = rng.randrange(1000, 200_000)
        yield RequestRecord(
            request_id=f"bench-{number}",
            requested_at=now - timedelta(days=DAYS) + number * step,
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


def seed(count: int) -> None:
    from accounts.models import Account
    from requestlogs.models import RequestRecord
    from requestlogs.rollups import hour_of, rollups_rebuild
    from usage.models import CurrentWindow, WindowSample

    now = datetime.now(UTC)
    rng = random.Random(1)  # noqa: S311 - the same rows each time
    for number in range(ACCOUNTS):
        account, _ = Account.objects.get_or_create(
            pk=f"bench-{number}", defaults={"email": f"bench-{number}@example.com", "plan_type": "plus"}
        )
        for window, minutes in (("primary", 300), ("secondary", 10_080)):
            known = {"used_percent": 5.0 * number, "reset_at": now + timedelta(hours=3)}
            known |= {"window_minutes": minutes, "recorded_at": now}
            CurrentWindow.objects.update_or_create(account=account, window=window, defaults=known)
            WindowSample.objects.bulk_create(
                WindowSample(
                    account=account,
                    window=window,
                    used_percent=k / 20,
                    recorded_at=now - k * timedelta(minutes=5),
                )
                for k in range(1000)
            )
    batch: list[object] = []
    for row in rows(count, now, rng):
        batch.append(row)
        if len(batch) == BATCH:
            RequestRecord.objects.bulk_create(batch)  # type: ignore[arg-type]
            batch.clear()
    RequestRecord.objects.bulk_create(batch)  # type: ignore[arg-type]
    rollups_rebuild(since=now - timedelta(days=DAYS + 1), until=hour_of(now) + timedelta(hours=1))


def measure() -> None:
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    from requestlogs.models import RequestRecord

    newest = RequestRecord.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    print(f"{newest} requests on {connection.vendor}")
    print(f"{'page':24}{'queries':>8}{'median ms':>12}{'slowest ms':>12}")
    client = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    for name, path in PAGES:
        url = path.format(middle=newest // 2)
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            answer = client.get(url)
        if answer.status_code != 200:
            raise SystemExit(f"{url} answered {answer.status_code}")
        asked = len(queries)
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            client.get(url)
            taken.append(1000 * (time.perf_counter() - began))
        print(f"{name:24}{asked:8}{statistics.median(taken):12.1f}{max(taken):12.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1_000_000, help="requests to store; 0 only measures")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "codexproxy.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
    if options.count:
        began = time.monotonic()
        seed(options.count)
        print(f"{options.count} requests stored in {time.monotonic() - began:.0f} s")
    measure()


if __name__ == "__main__":
    main()
