from __future__ import annotations

import contextlib
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from accounts.models import Account, EncryptionKeyFingerprint, JobRun
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel
from accounts.notices.services import (
    delivery_claim,
    delivery_failed,
    delivery_sent,
    notice_create,
    notice_settings_update,
)
from codexproxy.doctor import (
    check_accounts,
    check_database,
    check_folder,
    check_hosts,
    check_jobs,
    check_key,
    check_notices,
    check_sums,
    clock_findings,
)
from proxy.simulator import Simulator, running
from requestlogs.models import RequestRecord, UsageHour
from requestlogs.records import Record
from requestlogs.rollups import hour_of
from requestlogs.writer import records_store
from tests.builders import make_account, make_unreadable

NOW = timezone.now()


def levels(findings: Any) -> dict[str, str]:
    return {finding.about: finding.level for finding in findings}


def test_a_folder_that_others_can_read_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (found, _) = check_folder(tmp_path)
    assert (found.level, found.fix) == ("warning", f"chmod 700 {tmp_path}")
    tmp_path.chmod(0o700)
    assert levels(check_folder(tmp_path))["data folder"] == "ok"


@pytest.mark.django_db
def test_a_database_with_all_its_tables_is_well() -> None:
    assert levels(check_database(None)) == {"database": "ok"}


def test_a_damaged_file_names_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "db"
    file.write_bytes(b"garbage" * 1000)
    (found,) = check_database(file)
    assert found.level == "problem"
    assert "manage.py recover" in found.fix


@pytest.mark.django_db
def test_sums_that_are_not_what_the_rows_come_to_are_a_problem_and_are_counted_anew() -> None:
    records_store([Record("rid", NOW - timedelta(hours=3), account_id="acc-1", status="success")])
    assert levels(check_sums(NOW)) == {"hourly sums": "ok"}
    UsageHour.objects.update(requests=5)
    (found,) = check_sums(NOW)
    assert found.level == "problem"
    assert "5 requests" in found.found and "1 requests" in found.found
    assert "doctor --recount" in found.fix
    told = StringIO()
    with contextlib.suppress(SystemExit):
        call_command("doctor", "--offline", "--recount", stdout=told)
    assert "1 hourly sums were wrong" in told.getvalue()
    assert levels(check_sums(NOW)) == {"hourly sums": "ok"}


@pytest.mark.django_db
def test_sums_whose_rows_retention_has_taken_are_not_called_wrong() -> None:
    """As after a day of retention that was raised again: the oldest hour has only a part of its rows."""
    cut = hour_of(NOW) - timedelta(hours=24) + timedelta(minutes=30)
    moments = [cut + timedelta(hours=hours, minutes=minutes) for hours in (-30, 0, 3) for minutes in (-9, 9)]
    records_store([Record("rid", at, account_id="acc-1", status="success") for at in moments])
    RequestRecord.objects.filter(requested_at__lt=cut).delete()
    assert levels(check_sums(NOW)) == {"hourly sums": "ok"}
    UsageHour.objects.filter(hour__gt=cut).update(requests=5)
    assert levels(check_sums(NOW)) == {"hourly sums": "problem"}


@pytest.mark.django_db
def test_sums_without_any_row_are_not_called_wrong() -> None:
    records_store([Record("rid", NOW - timedelta(hours=3), account_id="acc-1", status="success")])
    RequestRecord.objects.all().delete()
    assert levels(check_sums(NOW)) == {"hourly sums": "ok"}


@pytest.mark.django_db
def test_another_key_is_a_problem() -> None:
    assert levels(check_key()) == {"encryption key": "ok"}
    EncryptionKeyFingerprint.objects.update_or_create(pk=1, defaults={"fingerprint": "another"})
    assert levels(check_key()) == {"encryption key": "problem"}


@pytest.mark.django_db
def test_no_account_is_a_warning() -> None:
    assert levels(check_accounts()) == {"accounts": "warning"}


@pytest.mark.django_db
def test_an_account_that_needs_its_owner_is_named() -> None:
    make_account(email="well@example.com")
    make_account(
        "ill",
        email="ill@example.com",
        status=Account.Status.REAUTH_REQUIRED,
        status_reason="The sign-in was revoked.",
    )
    found = {finding.about: finding for finding in check_accounts()}
    assert found["accounts"].level == "ok"
    (ill,) = [finding for about, finding in found.items() if "ill@example.com" in about]
    assert (ill.level, ill.found) == ("problem", "The sign-in was revoked.")


@pytest.mark.django_db
def test_an_account_whose_tokens_cannot_be_read_is_named() -> None:
    make_unreadable(make_account(email="ill@example.com"))
    found = {finding.about: finding for finding in check_accounts()}
    ill = found["account ill@example.com"]
    assert (ill.level, ill.found) == ("problem", "its stored tokens cannot be read with the encryption key")


@pytest.mark.django_db
@pytest.mark.parametrize(("age_s", "level"), [(5, "ok"), (3600, "warning")])
def test_jobs_that_nobody_runs_are_a_warning(age_s: int, level: str) -> None:
    JobRun.objects.create(name="refresh usage", started_at=NOW - timedelta(seconds=age_s))
    assert levels(check_jobs(NOW)) == {"background jobs": level}


@pytest.mark.django_db
def test_a_job_that_failed_shows_its_last_line() -> None:
    JobRun.objects.create(name="retention", started_at=NOW, error="Traceback\nOperationalError: locked")
    found = {finding.about: finding.found for finding in check_jobs(NOW)}
    assert found["job “retention”"] == "OperationalError: locked"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, []), (59, []), (120, ["it is 120 s behind"]), (-120, ["it is 120 s ahead"])]
)
def test_a_clock_that_is_off_is_a_problem(seconds: int, expected: list[str]) -> None:
    theirs = (NOW.replace(microsecond=0) + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert [finding.found for finding in clock_findings(theirs, NOW.replace(microsecond=0))] == expected


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_date_that_is_not_told_says_nothing(date: str | None) -> None:
    assert clock_findings(date, NOW) == []


def test_a_host_that_answers_is_well_and_one_that_does_not_is_a_problem() -> None:
    with running(Simulator()) as served:
        found = check_hosts({"here": served.base_url, "nowhere": "http://127.0.0.1:9"})
    assert [(finding.about, finding.level) for finding in found] == [("here", "ok"), ("nowhere", "problem")]


@pytest.mark.django_db
def test_the_command_fails_when_something_is_wrong() -> None:
    Path(settings.DATA_DIR).chmod(0o700)
    make_account()
    JobRun.objects.create(name="refresh usage", started_at=timezone.now())
    out = StringIO()
    call_command("doctor", "--offline", stdout=out)
    assert "PROBLEM" not in out.getvalue()
    EncryptionKeyFingerprint.objects.update_or_create(pk=1, defaults={"fingerprint": "another"})
    with pytest.raises(SystemExit):
        call_command("doctor", "--offline", stdout=out)
    assert "PROBLEM  encryption key" in out.getvalue()


@pytest.mark.django_db
def test_notices_that_do_not_arrive_are_a_warning() -> None:
    assert list(check_notices()) == []
    notice_settings_update(webhook_on=True, webhook_url="http://127.0.0.1:9/")
    assert levels(check_notices()) == {"notices by webhook": "ok"}
    event = Event(Kind.POOL_LOW, "low", "low")
    delivery = notice_create(event=event, channels=[Channel.WEBHOOK], now=NOW).deliveries.get()
    delivery_claim(delivery=delivery, target="", now=NOW)
    delivery_failed(delivery=delivery, error="It answered 500.", is_final=False, now=NOW)
    (found,) = check_notices()
    assert (found.level, found.found) == ("warning", "the last one did not arrive: It answered 500.")
    delivery_sent(delivery=delivery, now=NOW)
    assert levels(check_notices()) == {"notices by webhook": "ok"}
