"""What waits goes out to real servers, again and again until it arrives, and holds nothing up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from accounts.notices import mail, webhook
from accounts.notices.delivery import NotSetUp, deliver_due, send_test
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel, Delivery
from accounts.notices.services import notice_create, notice_settings_update
from codexproxy.db import DatabaseThread
from codexproxy.http import HttpClient
from tests.accounts.notices.receivers import RECIPIENT, SENDER, MailReceiver, WebReceiver
from tests.builders import NOW

pytestmark = pytest.mark.django_db(transaction=True)

EVENT = Event(Kind.SIGN_IN_NEEDED, "ann needs a new sign-in", "Why: invalid_grant", "a", "ann")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run(clock: Clock) -> Callable[[], int]:
    """One run of the job, as many processes as one likes."""

    async def once(processes: int) -> int:
        clients = [HttpClient() for _ in range(processes)]
        threads = [DatabaseThread(f"test {number}") for number in range(processes)]
        try:
            tries = [
                deliver_due(client, thread, base_url="https://codex.example.com", clock=clock)
                for client, thread in zip(clients, threads, strict=True)
            ]
            return sum(await asyncio.gather(*tries))
        finally:
            for client, thread in zip(clients, threads, strict=True):
                await client.close()
                await asyncio.to_thread(thread.close)

    def start(processes: int = 1) -> int:
        return asyncio.run(once(processes))

    return start


def turn_on(web: WebReceiver | None = None, mailbox: MailReceiver | None = None) -> None:
    fields: dict[str, Any] = {}
    if web is not None:
        fields |= {"webhook_on": True, "webhook_url": web.url}
    if mailbox is not None:
        fields |= {
            "email_on": True,
            "smtp_host": "127.0.0.1",
            "smtp_port": mailbox.port,
            "smtp_security": "none",
            "email_from": SENDER,
            "email_to": RECIPIENT,
        }
    notice_settings_update(**fields)


def tell(*channels: Channel, number: int = 0) -> None:
    notice_create(event=EVENT, channels=channels, now=NOW - timedelta(seconds=10 - number))


def states() -> dict[str, tuple[str, int]]:
    return {row.channel: (row.status, row.attempts) for row in Delivery.objects.all()}


def test_it_works(run: Any, web: WebReceiver, mailbox: MailReceiver) -> None:
    turn_on(web, mailbox)
    tell(*Channel)
    assert run() == 2
    ((_, _, body),) = web.requests
    assert json.loads(body)["title"] == "ann needs a new sign-in"
    assert json.loads(body)["link"] == "https://codex.example.com/admin/"
    assert mailbox.letters[0]["subject"] == "[codexproxy] ann needs a new sign-in"
    assert states() == {"webhook": ("sent", 1), "email": ("sent", 1)}
    assert {row.target for row in Delivery.objects.all()} == {web.url.split("/")[2], RECIPIENT}
    assert run() == 0
    assert (len(web.requests), len(mailbox.letters)) == (1, 1)


def test_any_number_of_processes_send_it_once(run: Any, web: WebReceiver, mailbox: MailReceiver) -> None:
    turn_on(web, mailbox)
    for number in range(3):
        tell(*Channel, number=number)
    run(3)
    run()
    assert (len(web.requests), len(mailbox.letters)) == (3, 3)


def test_what_does_not_arrive_is_tried_again_later(run: Any, web: WebReceiver, clock: Clock) -> None:
    turn_on(web)
    web.answers = [500, 503]
    tell(Channel.WEBHOOK)
    assert run() == 0
    assert Delivery.objects.get().error == "It answered 500."
    assert run() == 0
    assert len(web.requests) == 1, "not before it is due again"
    clock.now += timedelta(seconds=30)
    assert run() == 0
    clock.now += timedelta(seconds=120)
    assert run() == 1
    assert states() == {"webhook": ("sent", 3)}
    identities = {headers["x-codexproxy-delivery"] for _, headers, _ in web.requests}
    assert len(identities) == 1, "so that the receiver can tell"


def test_after_a_day_nobody_tries_any_more(run: Any, web: WebReceiver, clock: Clock) -> None:
    turn_on(web)
    web.answers = [500]
    tell(Channel.WEBHOOK)
    run()
    clock.now += timedelta(hours=24)
    assert run() == 0
    assert len(web.requests) == 1
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.error) == ("failed", "It answered 500.")


def test_one_that_fails_is_not_followed_by_the_next(run: Any, web: WebReceiver) -> None:
    turn_on(web)
    web.answers = [500]
    tell(Channel.WEBHOOK)
    tell(Channel.WEBHOOK, number=1)
    run()
    assert len(web.requests) == 1


def test_a_channel_that_is_silent_holds_up_no_other(
    run: Any, web: WebReceiver, mailbox: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quickly(client: Any, hook: Any, message: Any, *, now_s: float) -> None:
        await webhook.post(client, hook, message, now_s=now_s, timeout_s=0.3)

    monkeypatch.setattr("accounts.notices.delivery.post", quickly)
    turn_on(web, mailbox)
    web.answers = [None]
    tell(*Channel)
    assert run() == 1
    assert states() == {"webhook": ("waiting", 1), "email": ("sent", 1)}


def test_a_mail_server_that_is_silent_holds_up_no_other(
    run: Any, web: WebReceiver, mailbox: MailReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quickly(server: Any, message: Any) -> None:
        await mail.mail(server, message, timeout_s=0.3)

    monkeypatch.setattr("accounts.notices.delivery.mail", quickly)
    turn_on(web, mailbox)
    mailbox.replies = {"220": None}
    tell(*Channel)
    assert run() == 1
    assert states() == {"webhook": ("sent", 1), "email": ("waiting", 1)}


def test_while_nothing_is_on_nobody_is_contacted(run: Any, web: WebReceiver) -> None:
    notice_settings_update(webhook_url=web.url)
    tell(Channel.WEBHOOK)
    assert run() == 0
    assert web.requests == []


# --- the test button ----------------------------------------------------------------------------


def test_a_test_is_sent_at_once_also_while_the_channel_is_off(run: Any, web: WebReceiver) -> None:
    notice_settings_update(webhook_url=web.url)
    delivery = send_test(Channel.WEBHOOK)
    assert (delivery.status, delivery.attempts, delivery.notice.kind) == ("sent", 1, "test")
    assert json.loads(web.requests[0][2])["kind"] == "test"
    run()
    assert len(web.requests) == 1


def test_a_test_that_fails_is_not_tried_again(run: Any, mailbox: MailReceiver, clock: Clock) -> None:
    turn_on(mailbox=mailbox)
    mailbox.replies = {"DATA": "554 spam"}
    delivery = send_test(Channel.EMAIL)
    assert (delivery.status, delivery.error) == ("failed", "The server answered: 554 spam")
    clock.now += timedelta(hours=1)
    assert run() == 0


@pytest.mark.parametrize("channel", list(Channel))
def test_a_channel_without_an_address_cannot_be_tested(channel: Channel) -> None:
    with pytest.raises(NotSetUp):
        send_test(channel)
    assert not Delivery.objects.exists()
