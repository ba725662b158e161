"""Looks an install over, and says for each thing that is wrong how it is put right."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from accounts.encryption_check import verify_key
from accounts.models import Account, JobRun
from accounts.notices.selectors import newest_delivery, notice_settings_get
from accounts.selectors import accounts_unreadable
from codexproxy.crypto import EncryptionKeyError
from codexproxy.http import HttpClient, Timeouts, TransportFailed
from codexproxy.sqlite_recovery import damage
from proxy.settings_services import settings_get
from requestlogs.rollups import hour_of, rollups_differences, whole_since

Level = Literal["ok", "warning", "problem"]

FREE_BYTES = 500 * 1024 * 1024
CLOCK_SKEW_S = 60.0
# A job that has not run for so long is not run by anybody.
JOBS_STALE_S = 600.0
RECOUNTED_DAYS = 7
REACH_TIMEOUTS = Timeouts(connect_s=10.0, read_s=10.0)


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` says what to do; it is empty where all is well."""

    level: Level
    about: str
    found: str
    fix: str = ""


Check = Callable[[], Iterable[Finding]]


def check_folder(folder: Path) -> Iterator[Finding]:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not os.access(folder, os.W_OK):
        yield Finding(
            "problem",
            "data folder",
            f"{folder} cannot be written to",
            f"chown it to the server's user: {folder}",
        )
    elif mode & 0o077:
        yield Finding(
            "warning", "data folder", f"{folder} can be read by others ({mode:o})", f"chmod 700 {folder}"
        )
    else:
        yield Finding("ok", "data folder", str(folder))
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        yield Finding(
            "problem",
            "disk",
            f"only {free // 1024**2} MiB are free",
            "Make room: without it records are lost, and then the database cannot be written.",
        )
    else:
        yield Finding("ok", "disk", f"{free // 1024**3} GiB free")


def check_database(file: Path | None) -> Iterator[Finding]:
    """`file` is the SQLite file, or None on PostgreSQL. Nothing is written."""
    if file is not None and file.exists() and (found := damage(file)):
        yield Finding(
            "problem", "database", f"{file}: {found}", "Stop the server and run: manage.py recover --replace"
        )
        return
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        yield Finding(
            "problem",
            "database",
            f"it cannot be asked: {error}",
            "Check CODEXPROXY_DATABASE_URL and the server.",
        )
        return
    if waiting:
        yield Finding(
            "problem", "database", f"{len(waiting)} migrations are missing", "Run: manage.py migrate"
        )
    else:
        yield Finding("ok", "database", str(file or connection.settings_dict["NAME"]))


def check_key() -> Iterator[Finding]:
    try:
        verify_key()
    except EncryptionKeyError as error:
        yield Finding(
            "problem", "encryption key", str(error), "Put back the key that the tokens were written with."
        )
    else:
        yield Finding("ok", "encryption key", "it is the one that the tokens were written with")


def check_accounts() -> Iterator[Finding]:
    states = Counter(Account.objects.values_list("status", flat=True))
    if not states:
        yield Finding(
            "warning",
            "accounts",
            "there are none",
            "Add one in the dashboard, or: manage.py import_accounts FILE",
        )
        return
    for account in Account.objects.filter(
        status__in=[Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED]
    ):
        yield Finding(
            "problem", f"account {account}", account.status_reason or account.get_status_display(),
            "Sign in again from its page in the dashboard.",
        )  # fmt: skip
    for account in accounts_unreadable():
        yield Finding(
            "problem", f"account {account}", "its stored tokens cannot be read with the encryption key",
            "Sign in again from its page in the dashboard.",
        )  # fmt: skip
    shown = ", ".join(f"{number} {Account.Status(status).label.lower()}" for status, number in states.items())
    level: Level = "ok" if states[Account.Status.ACTIVE] else "warning"
    fix = "" if level == "ok" else "No account can serve at the moment."
    yield Finding(level, "accounts", shown, fix)


def check_jobs(now: datetime) -> Iterator[Finding]:
    newest = JobRun.objects.order_by("-started_at").first()
    if newest is None:
        yield Finding("warning", "background jobs", "none has run yet", "Start the server: manage.py serve")
        return
    age_s = (now - newest.started_at).total_seconds()
    if age_s > JOBS_STALE_S:
        yield Finding(
            "warning", "background jobs", f"the last one ran {age_s / 60:.0f} minutes ago",
            "Start the server, or beside a plain daphne: manage.py background",
        )  # fmt: skip
    for run in JobRun.objects.exclude(error="").order_by("-started_at")[:1]:
        yield Finding("warning", f"job “{run.name}”", run.error.splitlines()[-1], "See the server's log.")
    if age_s <= JOBS_STALE_S:
        yield Finding("ok", "background jobs", f"the last one ran {age_s:.0f} s ago")


def check_notices() -> Iterator[Finding]:
    """Nothing is said while none are wanted."""
    for channel in notice_settings_get().channels:
        last = newest_delivery(channel)
        about = f"notices by {channel.label}"
        if last is None or not last.error:
            yield Finding("ok", about, "the last one has arrived" if last else "none was sent yet")
            continue
        fix = "See Notices on the dashboard; it sends a test too."
        yield Finding("warning", about, f"the last one did not arrive: {last.error}", fix)


def recount_span(now: datetime) -> dict[str, datetime]:
    """The whole hours of the last week whose rows are all still there.

    Retention may have been shorter than it is now, so that the rows say it and not the setting alone.
    """
    until = hour_of(now)
    days = min(RECOUNTED_DAYS, settings_get().retention_days - 1)
    since = max(until - timedelta(days=max(0, days)), whole_since() or until)
    return {"since": since, "until": until}


def check_sums(now: datetime) -> Iterator[Finding]:
    """Whether the hourly sums are what their rows come to."""
    wrong = rollups_differences(**recount_span(now))
    if not wrong:
        yield Finding("ok", "hourly sums", "they are what a recount of the requests gives")
        return
    first = wrong[0]
    yield Finding(
        "problem",
        "hourly sums",
        f"{len(wrong)} are wrong; of {first.hour:%Y-%m-%d %H:00} UTC, {first.of or 'no account'}: "
        f"{first.stored} are stored and {first.counted} are on record",
        "Count them anew: manage.py doctor --recount",
    )


def check_hosts(addresses: dict[str, str]) -> list[Finding]:
    """Whether each address answers at all, and what its clock says. Asks these hosts and no others."""
    return asyncio.run(_asked(addresses))


async def _asked(addresses: dict[str, str]) -> list[Finding]:
    client = HttpClient()
    try:
        found = [await _asked_one(client, name, url) for name, url in addresses.items()]
    finally:
        await client.close()
    return [finding for findings in found for finding in findings]


async def _asked_one(client: HttpClient, name: str, url: str) -> list[Finding]:
    headers = [(b"user-agent", b"codexproxy-doctor"), (b"accept-encoding", b"identity")]
    try:
        response = await client.send("HEAD", url, headers, timeouts=REACH_TIMEOUTS)
    except TransportFailed as failure:
        fix = (
            "Check this machine's network and name lookup, a firewall, or the variable that sets the address."
        )
        return [Finding("problem", name, f"{url} cannot be reached: {failure}", fix)]
    date = response.header(b"date")
    await response.close()
    # Any status will do: a bare address is nothing that upstream serves.
    reached = Finding("ok", name, f"{url} answers")
    return [reached, *clock_findings(date, timezone.now())]


def clock_findings(date: str | None, now: datetime) -> list[Finding]:
    """A clock that is off makes tokens look valid, and resets come at the wrong time."""
    try:
        skew_s = (now - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return []
    if abs(skew_s) <= CLOCK_SKEW_S:
        return []
    direction = "ahead" if skew_s > 0 else "behind"
    return [
        Finding(
            "problem",
            "clock",
            f"it is {abs(skew_s):.0f} s {direction}",
            "Synchronise it: timedatectl set-ntp true",
        )
    ]
