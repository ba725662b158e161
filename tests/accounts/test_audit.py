"""Who did what, from where."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from accounts import audit, services
from accounts.models import AuditEvent
from tests.builders import NOW, make_account

pytestmark = pytest.mark.django_db


def test_it_works() -> None:
    with audit.acting_as(audit.Actor("operator", "192.0.2.1")):
        audit.record("settings_changed", subject="settings", detail="a: 1 → 2")
    event = AuditEvent.objects.get()
    assert (event.actor, event.address, event.action) == ("operator", "192.0.2.1", "settings_changed")
    assert (event.subject, event.detail) == ("settings", "a: 1 → 2")


def test_outside_of_a_request_the_command_line_acts() -> None:
    with audit.acting_as(audit.Actor("operator", "192.0.2.1")):
        pass
    assert audit.record("password_set").actor == "command line"


def test_what_was_rolled_back_is_not_recorded() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record("password_set")
        raise ZeroDivisionError
    assert not AuditEvent.objects.exists()


def test_long_and_unstorable_text_is_cut() -> None:
    event = audit.record("account_renamed", subject="x" * 999, detail="a\x00b")
    event.full_clean()
    assert (len(event.subject), event.detail) == (250, "ab")


def test_old_events_are_removed() -> None:
    old, new = audit.record("password_set"), audit.record("password_changed")
    AuditEvent.objects.filter(pk=old.pk).update(at=NOW - timedelta(days=366))
    assert audit.forget(before=NOW - timedelta(days=365)) == 1
    assert AuditEvent.objects.get() == new


def test_what_an_operator_does_with_an_account_is_recorded() -> None:
    account = make_account()
    services.account_pause(account_id=account.pk)
    services.account_resume(account_id=account.pk)
    services.account_rename(account_id=account.pk, alias="Work")
    services.account_delete(account_id=account.pk)
    recorded = AuditEvent.objects.order_by("pk").values_list("action", "subject")
    assert list(recorded) == [
        (action, account.pk)
        for action in ("account_paused", "account_resumed", "account_renamed", "account_deleted")
    ]
