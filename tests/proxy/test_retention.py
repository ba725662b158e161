"""What is old goes, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth import get_user_model

from accounts.models import AccountEvent, AuditEvent
from proxy.retention import trim
from tests.builders import NOW, make_account

pytestmark = pytest.mark.django_db


def test_events_and_audit_are_kept_for_a_year() -> None:
    account = make_account()
    for days in (364, 366):
        at = NOW - timedelta(days=days)
        AccountEvent.objects.create(account=account, kind="paused", at=at)
        AuditEvent.objects.create(actor="operator", action="account_paused", at=at)
    gone = trim(now=NOW)
    assert (gone["events"], gone["audit"]) == (1, 1)
    assert (AccountEvent.objects.count(), AuditEvent.objects.count()) == (1, 1)


def test_what_django_writes_down_of_changes_is_kept_for_a_year() -> None:
    operator = get_user_model().objects.create(username="operator")
    for days in (364, 366):
        LogEntry.objects.create(
            user=operator,
            object_repr=f"{days} days old",
            action_flag=CHANGE,
            action_time=NOW - timedelta(days=days),
        )
    assert trim(now=NOW)["history"] == 1
    assert [entry.object_repr for entry in LogEntry.objects.all()] == ["364 days old"]


def test_where_nothing_is_old_nothing_goes() -> None:
    assert set(trim(now=NOW).values()) == {0}
