"""Writes: whom to tell what, what there is to tell, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F

from accounts import audit
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel, Delivery, Memory, Notice, NoticeSettings
from accounts.notices.selectors import memory_get, notice_settings_get
from codexproxy.crypto import EncryptedTextField

# After the first try, the second, and so on; the last one holds from there on.
BACKOFF_S = (30, 120, 600, 1800, 3600, 10_800)
# What could not be told for so long is news no more.
GIVE_UP_AFTER = timedelta(hours=24)
ERROR_LENGTH = 500
_WAITING, _FAILED = Delivery.Status.WAITING, Delivery.Status.FAILED
# Whoever could send the stored password to another server, or in the clear, could read it.
_PASSWORD_GOES_TO = ("smtp_host", "smtp_port", "smtp_security")


@transaction.atomic
def notice_settings_update(**fields: Any) -> NoticeSettings:
    """Change the named fields. Raises ValidationError. What waits for a channel that goes off is dropped."""
    row = notice_settings_get()
    before = {name: getattr(row, name) for name in fields}
    check_password_again(row, fields)
    changed = []
    for name, value in fields.items():
        field = NoticeSettings._meta.get_field(name)
        if before[name] != value:
            changed.append(_change(field, before[name], value))
        setattr(row, name, value)
    row.full_clean()
    row.save(update_fields=list(fields))
    if changed:
        audit.record("notice_settings_changed", detail="\n".join(changed))
    off = [channel for channel in Channel.values if channel not in row.channels]
    Delivery.objects.filter(status=_WAITING, channel__in=off).update(status=Delivery.Status.DROPPED)
    return row


def check_password_again(row: NoticeSettings, fields: Mapping[str, Any]) -> None:
    """SECURITY: a stored password goes to no other server than the one that it was entered for.

    Otherwise whoever may change the settings could have it sent to a server of his own, and read it.
    """
    stored = row.smtp_password
    goes_elsewhere = any(name in fields and fields[name] != getattr(row, name) for name in _PASSWORD_GOES_TO)
    if stored and goes_elsewhere and fields.get("smtp_password", stored) == stored:
        raise ValidationError({"smtp_password": "The server has changed: enter the password again."})


def _change(field: Any, before: Any, after: Any) -> str:
    """SECURITY: that a secret has changed, and never what it is."""
    if not isinstance(field, EncryptedTextField):
        return f"{field.name}: {before} → {after}"
    if not after:
        return f"{field.name}: removed"
    return f"{field.name}: {'changed' if before else 'set'}"


def events_tell(*, memory: Memory, state: Mapping[str, Any], events: Iterable[Event], now: datetime) -> int:
    """Put the new memory in place of this one, and its events on their way; returns how many.

    Of all who have looked at the same memory one gets here: each event is told once.
    """
    if memory.state == state:
        # Most of the time. A transaction would take SQLite's one lock for nothing.
        return 0
    with transaction.atomic():
        same = Memory.objects.filter(pk=1, version=memory.version)
        if not same.update(version=F("version") + 1, state=dict(state)):
            return 0
        row = notice_settings_get()
        wanted = [event for event in events if row.wants(event.kind)]
        for event in wanted:
            notice_create(event=event, channels=row.channels, now=now)
    return len(wanted)


def memory_forget() -> None:
    """While nobody is told anything nothing is remembered: old news is not told when a channel goes on."""
    memory = memory_get()
    if memory.state:
        Memory.objects.filter(pk=1, version=memory.version).update(version=F("version") + 1, state={})


@transaction.atomic
def notice_create(*, event: Event, channels: Iterable[Channel], now: datetime) -> Notice:
    notice = Notice.objects.create(
        at=now,
        kind=event.kind,
        title=_storable(event.title, 250),
        text=_storable(event.text, 4000),
        account_id=_storable(event.account_id, 200),
        account_name=_storable(event.account_name, 254),
        data=dict(event.data),
    )
    Delivery.objects.bulk_create(
        Delivery(notice=notice, channel=channel, next_at=now) for channel in channels
    )
    return notice


@transaction.atomic
def test_create(*, channel: Channel, target: str, now: datetime) -> Delivery:
    """A notice that says only that notices arrive. Whoever makes it tries it, once; nobody else does."""
    event = Event(Kind.TEST, "A test", "This is a test: notices of codexproxy arrive here.")
    notice = notice_create(event=event, channels=(), now=now)
    audit.record("notice_test_sent", subject=channel)
    return Delivery.objects.create(
        notice=notice, channel=channel, target=target[:1000], attempts=1, next_at=now + 2 * GIVE_UP_AFTER
    )


def delivery_claim(*, delivery: Delivery, target: str, now: datetime) -> bool:
    """Whether the try is ours. The next one is set before this one is made: a process may die in between."""
    wait_s = BACKOFF_S[min(delivery.attempts, len(BACKOFF_S) - 1)]
    ours = Delivery.objects.filter(pk=delivery.pk, status=_WAITING, attempts=delivery.attempts)
    return bool(
        ours.update(attempts=F("attempts") + 1, next_at=now + timedelta(seconds=wait_s), target=target[:1000])
    )


def delivery_sent(*, delivery: Delivery, now: datetime) -> None:
    sent = {"status": Delivery.Status.SENT, "ended_at": now, "error": ""}
    Delivery.objects.filter(pk=delivery.pk).exclude(status=Delivery.Status.SENT).update(**sent)


def delivery_failed(*, delivery: Delivery, error: str, is_final: bool, now: datetime) -> None:
    """It is tried again later, unless that was the last try."""
    rows = Delivery.objects.filter(pk=delivery.pk, status=_WAITING)
    ended = {"status": _FAILED, "ended_at": now} if is_final else {}
    rows.update(error=_storable(error, ERROR_LENGTH), **ended)


def deliveries_give_up(*, now: datetime) -> int:
    late = Delivery.objects.filter(status=_WAITING, notice__at__lte=now - GIVE_UP_AFTER)
    return late.update(status=_FAILED, ended_at=now)


def notices_forget(*, before: datetime) -> int:
    """Returns how many notices went, with their deliveries."""
    deleted, by_model = Notice.objects.filter(at__lt=before).delete()
    return by_model.get(Notice._meta.label, 0) if deleted else 0


def _storable(text: str, length: int) -> str:
    # PostgreSQL refuses NUL, and nothing encodes half a surrogate pair.
    return text.encode("utf-8", "replace").decode().replace("\x00", "")[:length]
