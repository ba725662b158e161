from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.models import AuditEvent
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel, Delivery
from accounts.notices.selectors import deliveries_due, message_of, sign_ins
from accounts.notices.services import notice_create
from tests.builders import NOW

pytestmark = pytest.mark.django_db


def event(address: str, minutes_ago: int, action: str = "signed_in") -> None:
    at = NOW - timedelta(minutes=minutes_ago)
    AuditEvent.objects.create(at=at, actor="operator", address=address, action=action, detail="password")


def test_the_last_sign_in_from_each_address_is_read() -> None:
    event("192.0.2.1", 60)
    event("192.0.2.1", 30)
    event("192.0.2.2", 20)
    event("192.0.2.3", 10, "password_refused")
    found = sign_ins(since=None)
    assert [(each.address, each.at) for each in found] == [
        ("192.0.2.1", NOW - timedelta(minutes=30)),
        ("192.0.2.2", NOW - timedelta(minutes=20)),
    ]


def test_a_whole_ipv6_network_is_one_address() -> None:
    event("2001:db8::1", 1)
    (found,) = sign_ins(since=None)
    assert (found.network, found.address) == ("2001:db8::/64", "2001:db8::1")


def test_a_sign_in_that_was_stored_late_is_not_missed() -> None:
    event("192.0.2.1", 30)
    event("192.0.2.2", 9)
    assert [each.address for each in sign_ins(since=NOW)] == ["192.0.2.2"]


def test_what_is_due_on_a_channel_that_is_on_comes_oldest_first() -> None:
    low = Event(Kind.POOL_LOW, "low", "low")
    for minutes in (1, 3, -1):
        notice_create(event=low, channels=list(Channel), now=NOW - timedelta(minutes=minutes))
    Delivery.objects.filter(channel=Channel.WEBHOOK, next_at=NOW - timedelta(minutes=1)).update(status="sent")
    due = deliveries_due(now=NOW, channels=[Channel.WEBHOOK], limit=10)
    assert [each.next_at for each in due] == [NOW - timedelta(minutes=3)]
    assert len(deliveries_due(now=NOW, channels=list(Channel), limit=2)) == 2
    assert deliveries_due(now=NOW, channels=[], limit=2) == []


def test_a_message_leads_to_the_dashboard_where_its_address_is_known() -> None:
    notice = notice_create(event=Event(Kind.POOL_LOW, "low", "text", "a", "ann"), channels=[], now=NOW)
    message = message_of(notice, base_url="https://codex.example.com")
    assert (message.id, message.kind, message.account_name) == (str(notice.pk), "pool_low", "ann")
    assert message.link == "https://codex.example.com/admin/"
    assert message_of(notice).link == ""
