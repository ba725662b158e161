"""A real server notices what has happened and tells it, once, however many processes share the work."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from proxy.simulator import Simulator
from tests.accounts.notices.receivers import (
    RECIPIENT,
    SENDER,
    MailReceiver,
    WebReceiver,
    mail_receiver,
    web_receiver,
)
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

SETTINGS = "admin/notices/noticesettings/1/change/"


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with web_receiver() as received:
        yield received


@pytest.fixture
def mailbox() -> Iterator[MailReceiver]:
    with mail_receiver() as received:
        yield received


def run(server: Server, code: str) -> None:
    done = server.manage("shell", "-c", code)
    assert done.returncode == 0, done.stderr


def turn_on(server: Server, **fields: object) -> None:
    module = "accounts.notices.services"
    run(server, f"from {module} import notice_settings_update\nnotice_settings_update(**{fields!r})")


def test_two_processes_tell_a_lost_sign_in_once(
    sim: Simulator, prepared: Start, web: WebReceiver, mailbox: MailReceiver
) -> None:
    sim.add_account("ann", email="ann@example.com")
    sim.add_account("bob")
    server = prepared()
    turn_on(
        server,
        webhook_on=True,
        webhook_url=web.url,
        email_on=True,
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        email_from=SENDER,
        email_to=RECIPIENT,
    )
    lost = "account_require_sign_in(account_id=account.pk, reason='refresh_token_expired')"
    run(
        server,
        "from accounts.models import Account\nfrom accounts.services import account_require_sign_in\n"
        f"for account in Account.objects.filter(email='ann@example.com'): {lost}",
    )
    server.start()
    other = server.sibling().start()
    until(lambda: web.requests and mailbox.letters, 40, "both were told")
    # Whoever had the lease stops; the other one takes over, and has nothing to tell any more.
    assert (server.stop(), other.stop()) == (0, 0)
    ((_, headers, body),) = web.requests
    told = json.loads(body)
    assert (told["kind"], told["account"]["name"]) == ("account_needs_sign_in", "ann@example.com")
    assert headers["x-codexproxy-delivery"] == told["id"]
    (letter,) = mailbox.letters
    assert letter["subject"] == "[codexproxy] ann@example.com needs a new sign-in"
    rows = server.query("SELECT channel, status, attempts FROM notices_delivery ORDER BY channel")
    assert rows == [("email", "sent", 1), ("webhook", "sent", 1)]


def test_a_server_with_a_silent_receiver_serves_and_stops(
    sim: Simulator, prepared: Start, web: WebReceiver
) -> None:
    web.answers = [None] * 5
    server = prepared()
    turn_on(server, webhook_on=True, webhook_url=web.url)
    run(
        server,
        "from django.utils import timezone\nfrom accounts.notices.events import Event, Kind\n"
        "from accounts.notices.models import Channel\nfrom accounts.notices.services import notice_create\n"
        "notice_create(event=Event(Kind.RESET, 't', 't'), channels=[Channel.WEBHOOK], now=timezone.now())",
    )
    server.start()
    until(lambda: web.requests, 30, "the webhook is asked")
    assert server.readiness() == 200
    assert server.stop() == 0


def test_the_operator_sets_it_up_and_tries_it_in_the_browser(
    serve: Start, page: Page, web: WebReceiver
) -> None:
    server = serve()
    page.goto(f"{server.base_url}/{SETTINGS}")
    assert page.get_by_role("button", name="Send a test by webhook").is_disabled()
    page.get_by_label("Send to a webhook").check()
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_text("Enter the address to send to.").wait_for()
    page.get_by_label("Address", exact=True).fill(web.url)
    page.get_by_label("Signing secret").fill("shared")
    page.get_by_role("button", name="Save and continue").click()
    page.get_by_role("button", name="Send a test by webhook").click()
    page.get_by_text("The test by webhook has arrived.").wait_for()
    ((_, headers, body),) = web.requests
    assert json.loads(body)["kind"] == "test"
    assert headers["x-codexproxy-signature"].startswith("sha256=")
    page.get_by_role("link", name="Notice log").first.click()
    page.get_by_text("Webhook: sent").wait_for()


def test_addresses_are_blurred_by_one_click(sim: Simulator, serve: Start, page: Page) -> None:
    sim.add_account("ann", email="ann@example.com")
    server = serve()
    page.goto(f"{server.base_url}/admin/accounts/account/")
    page.get_by_role("button", name="Blur e-mail addresses").click()
    blurred = page.locator(".cp-blur", has_text="ann@example.com").first
    blurred.wait_for()
    assert "blur" in blurred.evaluate("element => getComputedStyle(element).filter")
    assert page.url.endswith("/admin/accounts/account/")
    page.get_by_role("button", name="Blur e-mail addresses").click()
    page.get_by_role("button", name="Blur e-mail addresses", pressed=False).wait_for()
    assert page.locator(".cp-blur").count() == 0
