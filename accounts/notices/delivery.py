"""Sends what is waiting: each channel by itself, so that one that fails holds up no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from asgiref.sync import async_to_sync
from django.utils import timezone

from accounts.notices.mail import MailServer, mail
from accounts.notices.messages import DeliveryFailed, Message
from accounts.notices.models import Channel, Delivery, NoticeSettings
from accounts.notices.selectors import deliveries_due, message_of, notice_settings_get
from accounts.notices.services import (
    deliveries_give_up,
    delivery_claim,
    delivery_failed,
    delivery_sent,
    test_create,
)
from accounts.notices.webhook import Webhook, post
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient

logger = logging.getLogger(__name__)

# In one run.
MOST = 50


class NotSetUp(Exception):
    """The channel has no address yet."""


@dataclass(frozen=True, slots=True)
class Channels:
    """Where each channel leads to; None for one that is not set up."""

    webhook: Webhook | None
    mail_server: MailServer | None

    @classmethod
    def of(cls, row: NoticeSettings) -> Channels:
        return cls(
            webhook=Webhook(row.webhook_url, row.webhook_secret) if row.webhook_url else None,
            mail_server=MailServer(
                host=row.smtp_host,
                port=row.smtp_port,
                security=row.smtp_security,
                username=row.smtp_username,
                password=row.smtp_password,
                sender=row.email_from,
                recipients=tuple(row.recipients),
            )
            if row.smtp_host and row.email_from and row.recipients
            else None,
        )

    async def tell(self, client: HttpClient, channel: str, message: Message, now: datetime) -> None:
        """Raises DeliveryFailed and NotSetUp."""
        if channel == Channel.WEBHOOK and self.webhook is not None:
            await post(client, self.webhook, message, now_s=now.timestamp())
        elif channel == Channel.EMAIL and self.mail_server is not None:
            await mail(self.mail_server, message)
        else:
            raise NotSetUp


@dataclass(frozen=True, slots=True)
class _Round:
    row: NoticeSettings
    channels: Channels
    client: HttpClient
    thread: DatabaseThread
    base_url: str
    clock: Callable[[], datetime]

    async def deliver(self, due: list[Delivery]) -> int:
        """All of one channel, oldest first, until one does not arrive: the next would not either."""
        sent = 0
        for delivery in due:
            target = self.row.target(delivery.channel)
            if not await self.thread.run(delivery_claim, delivery=delivery, target=target, now=self.clock()):
                # Another process was quicker, or the channel went off.
                continue
            if not await self._tell(delivery):
                break
            sent += 1
        return sent

    async def _tell(self, delivery: Delivery) -> bool:
        message = message_of(delivery.notice, base_url=self.base_url)
        try:
            await self.channels.tell(self.client, delivery.channel, message, self.clock())
        except DeliveryFailed as failure:
            logger.warning("notice %s by %s: %s", message.id, delivery.channel, failure)
            await self.thread.run(
                delivery_failed, delivery=delivery, error=str(failure), is_final=False, now=self.clock()
            )
            return False
        await self.thread.run(delivery_sent, delivery=delivery, now=self.clock())
        return True


async def deliver_due(
    client: HttpClient,
    thread: DatabaseThread,
    *,
    base_url: str = "",
    clock: Callable[[], datetime] = timezone.now,
) -> int:
    """Try what is due; returns how many have arrived."""
    row, due = await thread.run(_due, clock())
    this = _Round(row, Channels.of(row), client, thread, base_url, clock)
    by_channel = [[each for each in due if each.channel == channel] for channel in row.channels]
    return sum(await asyncio.gather(*(this.deliver(each) for each in by_channel)))


def _due(now: datetime) -> tuple[NoticeSettings, list[Delivery]]:
    deliveries_give_up(now=now)
    row = notice_settings_get()
    return row, deliveries_due(now=now, channels=row.channels, limit=MOST)


def send_test(channel: Channel) -> Delivery:
    """From a thread without an event loop, with what is stored: try once, and say what became of it.

    Raises NotSetUp.
    """
    row = notice_settings_get()
    channels = Channels.of(row)
    if (channels.webhook if channel == Channel.WEBHOOK else channels.mail_server) is None:
        raise NotSetUp
    delivery = test_create(channel=channel, target=row.target(channel), now=timezone.now())
    try:
        async_to_sync(_tell_once)(channels, channel, message_of(delivery.notice))
    except DeliveryFailed as failure:
        delivery_failed(delivery=delivery, error=str(failure), is_final=True, now=timezone.now())
    else:
        delivery_sent(delivery=delivery, now=timezone.now())
    delivery.refresh_from_db()
    return delivery


async def _tell_once(channels: Channels, channel: Channel, message: Message) -> None:
    client = HttpClient()
    try:
        await channels.tell(client, channel, message, timezone.now())
    finally:
        await client.close()
