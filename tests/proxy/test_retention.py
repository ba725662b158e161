"""What is old goes, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest

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


def test_where_nothing_is_old_nothing_goes() -> None:
    assert set(trim(now=NOW).values()) == {0}
