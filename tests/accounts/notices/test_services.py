"""Settings with secrets, and notices that are told once however many processes there are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from accounts.models import AuditEvent
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel, Delivery, Notice, NoticeSettings
from accounts.notices.selectors import memory_get, notice_settings_get
from accounts.notices.services import (
    deliveries_give_up,
    delivery_claim,
    delivery_failed,
    delivery_sent,
    events_tell,
    memory_forget,
    notice_create,
    notice_settings_update,
    notices_forget,
)
from tests.accounts.notices.receivers import RECIPIENT, SENDER
from tests.builders import NOW

pytestmark = pytest.mark.django_db

EVENT = Event(Kind.POOL_LOW, "The pool is low", "4 % is left.", data={"window": "primary"})
URL = "https://hooks.example.com/s3cret-path"
MAIL = {"email_on": True, "smtp_host": "mail.example.com", "email_from": SENDER, "email_to": RECIPIENT}


def waiting(at: Any = NOW) -> Delivery:
    return notice_create(event=EVENT, channels=[Channel.WEBHOOK], now=at).deliveries.get()


# --- settings -----------------------------------------------------------------------------------


def test_nothing_is_on_at_first() -> None:
    assert notice_settings_get().channels == ()


def test_it_works() -> None:
    row = notice_settings_update(webhook_on=True, webhook_url=URL, webhook_secret="shared", **MAIL)
    assert row.channels == (Channel.WEBHOOK, Channel.EMAIL)
    assert (row.target(Channel.WEBHOOK), row.target(Channel.EMAIL)) == ("hooks.example.com", RECIPIENT)
    assert NoticeSettings.objects.get().webhook_url == URL


def test_secrets_are_encrypted_where_they_are_stored() -> None:
    secrets = {"webhook_url": URL, "webhook_secret": "sha-red", "smtp_password": "pass-word"}
    notice_settings_update(**secrets, smtp_username="proxy")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM notices_noticesettings")
        stored = repr(cursor.fetchall())
    assert not [secret for secret in secrets.values() if secret in stored]
    assert "s3cret" not in stored


def test_the_audit_log_tells_what_has_changed_and_no_secret() -> None:
    notice_settings_update(webhook_url=URL, webhook_secret="s3cret", webhook_on=True)
    notice_settings_update(webhook_url=URL + "2", webhook_secret="", pool_low_percent=30)
    notice_settings_update(pool_low_percent=30)
    first, second = AuditEvent.objects.order_by("pk")
    assert {first.action, second.action} == {"notice_settings_changed"}
    assert first.detail == "webhook_url: set\nwebhook_secret: set\nwebhook_on: False → True"
    assert second.detail == "webhook_url: changed\nwebhook_secret: removed\npool_low_percent: 20 → 30"


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"webhook_on": True}, "webhook_url"),
        ({"webhook_url": "ftp://example.com/"}, "webhook_url"),
        ({"email_on": True, "smtp_host": "mail", "email_from": SENDER}, "email_to"),
        ({**MAIL, "email_to": "nobody"}, "email_to"),
        ({**MAIL, "smtp_host": "a b"}, "smtp_host"),
        ({**MAIL, "smtp_port": 0}, "smtp_port"),
        ({**MAIL, "smtp_username": "proxy"}, "smtp_password"),
        ({**MAIL, "smtp_password": "word"}, "smtp_username"),
        ({"pool_low_percent": 0}, "pool_low_percent"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        notice_settings_update(**fields)
    assert name in refused.value.message_dict
    assert notice_settings_get().channels == ()


@pytest.mark.parametrize(
    "change", [{"smtp_host": "evil.example"}, {"smtp_port": 2525}, {"smtp_security": "none"}]
)
def test_a_stored_password_goes_to_no_other_server(change: dict[str, Any]) -> None:
    notice_settings_update(**MAIL, smtp_username="proxy", smtp_password="s3cret")
    with pytest.raises(ValidationError, match="enter the password again"):
        notice_settings_update(**change)
    notice_settings_update(**change, smtp_password="another")
    notice_settings_update(smtp_username="", smtp_password="", smtp_host="third.example")


# --- events -------------------------------------------------------------------------------------


def test_an_event_is_told_on_every_channel_that_is_on() -> None:
    notice_settings_update(webhook_on=True, webhook_url=URL, **MAIL)
    assert events_tell(memory=memory_get(), state={"low": ["primary"]}, events=[EVENT], now=NOW) == 1
    notice = Notice.objects.get()
    assert (notice.kind, notice.title, notice.text, notice.data, notice.at) == (
        "pool_low",
        "The pool is low",
        "4 % is left.",
        {"window": "primary"},
        NOW,
    )
    assert {row.channel for row in notice.deliveries.all()} == {"webhook", "email"}


def test_of_two_that_have_looked_at_the_same_memory_one_tells() -> None:
    notice_settings_update(webhook_on=True, webhook_url=URL)
    ours, theirs = memory_get(), memory_get()
    assert events_tell(memory=ours, state={"low": ["primary"]}, events=[EVENT], now=NOW) == 1
    assert events_tell(memory=theirs, state={"low": ["primary"]}, events=[EVENT], now=NOW) == 0
    assert Notice.objects.count() == 1


def test_what_is_not_wanted_is_remembered_and_not_told() -> None:
    notice_settings_update(webhook_on=True, webhook_url=URL, tell_pool_low=False)
    assert events_tell(memory=memory_get(), state={"low": ["primary"]}, events=[EVENT], now=NOW) == 0
    assert memory_get().state == {"low": ["primary"]}
    assert not Notice.objects.exists()


def test_a_look_that_finds_nothing_new_writes_nothing() -> None:
    before = memory_get().version
    assert events_tell(memory=memory_get(), state={}, events=[], now=NOW) == 0
    assert memory_get().version == before


def test_while_nothing_is_on_nothing_is_remembered() -> None:
    events_tell(memory=memory_get(), state={"low": ["primary"]}, events=[], now=NOW)
    memory_forget()
    assert memory_get().state == {}
    version = memory_get().version
    memory_forget()
    assert memory_get().version == version


def test_whatever_an_account_is_called_can_be_stored() -> None:
    event = Event(Kind.SIGN_IN_NEEDED, "a\x00b\ud800" + "x" * 300, "t\x00", "id", "n\x00")
    notice = notice_create(event=event, channels=[], now=NOW)
    assert notice.title.startswith("ab?xxx")
    assert len(notice.title) == 250


# --- deliveries ---------------------------------------------------------------------------------


def test_a_try_belongs_to_one_process() -> None:
    delivery = waiting()
    assert delivery_claim(delivery=delivery, target="x", now=NOW)
    assert not delivery_claim(delivery=delivery, target="x", now=NOW)


def test_the_tries_are_farther_and_farther_apart() -> None:
    delivery = waiting()
    waits = []
    for _ in range(8):
        assert delivery_claim(delivery=delivery, target="x", now=NOW)
        delivery.refresh_from_db()
        waits.append((delivery.next_at - NOW).total_seconds())
    assert waits == [30, 120, 600, 1800, 3600, 10800, 10800, 10800]


def test_a_failure_is_noted_and_a_success_ends_it() -> None:
    delivery = waiting()
    delivery_failed(delivery=delivery, error="It answered 500.", is_final=False, now=NOW)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error, delivery.ended_at) == ("waiting", "It answered 500.", None)
    delivery_sent(delivery=delivery, now=NOW)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.error, delivery.ended_at) == ("sent", "", NOW)


def test_what_could_not_be_told_for_a_day_is_given_up() -> None:
    old, new = waiting(NOW - timedelta(hours=24)), waiting(NOW - timedelta(hours=23))
    assert deliveries_give_up(now=NOW) == 1
    for delivery, status in ((old, "failed"), (new, "waiting")):
        delivery.refresh_from_db()
        assert delivery.status == status


def test_what_waits_for_a_channel_that_goes_off_is_dropped() -> None:
    notice_settings_update(webhook_on=True, webhook_url=URL)
    delivery = waiting()
    notice_settings_update(webhook_on=False)
    delivery.refresh_from_db()
    assert delivery.status == Delivery.Status.DROPPED


def test_old_notices_are_forgotten_with_their_deliveries() -> None:
    waiting(NOW - timedelta(days=91))
    waiting(NOW)
    assert notices_forget(before=NOW - timedelta(days=90)) == 1
    assert (Notice.objects.count(), Delivery.objects.count()) == (1, 1)
