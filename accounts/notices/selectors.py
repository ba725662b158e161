"""Reads: the settings, what was known at the last look, and what is on its way."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Max

from accounts.models import AuditEvent
from accounts.notices.events import SignIn
from accounts.notices.messages import Message
from accounts.notices.models import Delivery, Memory, Notice, NoticeSettings
from accounts.operators.throttle import network_of

# Transactions end in another order than they begin in: what is a little older is looked at again.
_OVERLAP = timedelta(minutes=10)


def notice_settings_get() -> NoticeSettings:
    """The row, made with its defaults when it is first asked for."""
    row = NoticeSettings.objects.filter(pk=1).first()
    # RACE: get_or_create inserts in a savepoint of its own; the loser reads the winner's row.
    return row if row is not None else NoticeSettings.objects.get_or_create(pk=1)[0]


def memory_get() -> Memory:
    row = Memory.objects.filter(pk=1).first()
    return row if row is not None else Memory.objects.get_or_create(pk=1)[0]


def sign_ins(*, since: datetime | None) -> tuple[SignIn, ...]:
    """The last one from each address, since a little before `since`; None is all that is on record."""
    rows = AuditEvent.objects.filter(action="signed_in")
    if since is not None:
        rows = rows.filter(at__gte=since - _OVERLAP)
    newest = (
        rows.order_by().values_list("address").annotate(newest=Max("pk")).values_list("newest", flat=True)
    )
    return tuple(
        SignIn(network_of(event.address), event.address, event.actor, event.detail, event.at)
        for event in AuditEvent.objects.filter(pk__in=list(newest)).order_by("pk")
    )


def deliveries_due(*, now: datetime, channels: Iterable[str], limit: int) -> list[Delivery]:
    """What may be tried now, oldest first."""
    waiting = Delivery.objects.filter(status=Delivery.Status.WAITING, next_at__lte=now)
    return list(
        waiting.filter(channel__in=list(channels)).select_related("notice").order_by("next_at", "pk")[:limit]
    )


def newest_delivery(channel: str) -> Delivery | None:
    """The last one that somebody has tried."""
    return Delivery.objects.filter(channel=channel, attempts__gt=0).order_by("-notice__at", "-pk").first()


def message_of(notice: Notice, *, base_url: str = "") -> Message:
    """`base_url`: where the dashboard is reached, without a slash at its end; empty where unknown."""
    return Message(
        id=str(notice.pk),
        kind=notice.kind,
        at=notice.at,
        title=notice.title,
        text=notice.text,
        account_id=notice.account_id,
        account_name=notice.account_name,
        data=notice.data,
        link=f"{base_url}/admin/" if base_url else "",
    )
