"""The pages: settings whose secrets are never shown, tests of the channels, and the log."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import AuditEvent
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel, Delivery
from accounts.notices.selectors import notice_settings_get
from accounts.notices.services import delivery_failed, notice_create, notice_settings_update
from tests.accounts.notices.receivers import RECIPIENT, SENDER, WebReceiver
from tests.builders import NOW
from tests.codexproxy.browsing import browser

# The test button asks from a thread of its own.
pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/notices/noticesettings/1/change/"
LOG = "/admin/notices/notice/"
SECRETS = {"webhook_url": "https://hooks.example.com/to-ken", "webhook_secret": "sha-red"}


@pytest.fixture
def client() -> Client:
    return browser()


def form(**fields: Any) -> dict[str, Any]:
    """What the browser sends when nothing but these is filled in."""
    told = {f"tell_{name}": "on" for name in ("sign_in_needed", "pool_low", "reset", "new_address")}
    own = {"smtp_port": 587, "smtp_security": "starttls", "pool_low_percent": 20, **told}
    return {**own, **fields}


def save(client: Client, **fields: Any) -> str:
    return client.post(PAGE, form(**fields), follow=True).content.decode()


def test_the_list_of_one_leads_to_it(client: Client) -> None:
    assert client.get("/admin/notices/noticesettings/", follow=True).redirect_chain == [(PAGE, 302)]


def test_what_is_filled_in_is_stored(client: Client) -> None:
    save(client, webhook_on="on", **SECRETS, pool_low_percent=30)
    row = notice_settings_get()
    assert (row.webhook_url, row.webhook_secret) == tuple(SECRETS.values())
    assert (row.channels, row.pool_low_percent) == ((Channel.WEBHOOK,), 30)
    assert (row.tell_pool_low, row.tell_pool_exhausted) == (True, False)
    assert AuditEvent.objects.get().action == "notice_settings_changed"


def test_what_is_secret_is_never_shown_and_stays_where_the_field_is_left_empty(client: Client) -> None:
    mail = {"smtp_host": "mail.example.com", "smtp_username": "proxy", "smtp_password": "pass-word"}
    save(client, **SECRETS, **mail)
    page = client.get(PAGE).content.decode()
    assert not [word for word in ("to-ken", "sha-red", "pass-word") if word in page]
    assert "Set, to hooks.example.com. Empty: it stays." in page
    save(client, **{**mail, "smtp_password": ""}, pool_low_percent=25)
    row = notice_settings_get()
    assert (row.webhook_url, row.webhook_secret) == tuple(SECRETS.values())
    assert (row.smtp_password, row.pool_low_percent) == ("pass-word", 25)


def test_a_secret_is_taken_away_by_its_box(client: Client) -> None:
    assert 'name="forget_webhook_secret"' not in client.get(PAGE).content.decode()
    save(client, webhook_on="on", **SECRETS)
    assert 'name="forget_webhook_secret"' in client.get(PAGE).content.decode()
    save(client, webhook_on="on", forget_webhook_secret="on")
    assert (notice_settings_get().webhook_secret, notice_settings_get().webhook_on) == ("", True)
    save(client, forget_webhook_url="on")
    assert notice_settings_get().webhook_url == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"webhook_on": "on"}, "Enter the address to send to."),
        ({"webhook_url": "hooks.example.com/x"}, "It must begin with https:// or http://."),
        ({"email_on": "on", "smtp_host": "mail.example.com"}, "Needed to send e-mail."),
        ({"email_to": "ops@example.com, nobody"}, "nobody is no e-mail address."),
        ({"smtp_port": "99999"}, "less than or equal to 65535"),
        ({"smtp_username": "proxy"}, "Enter the password of this user"),
    ],
)
def test_what_cannot_work_is_said_beside_the_field_and_stays_typed(
    client: Client, fields: dict[str, Any], words: str
) -> None:
    page = save(client, email_from="typed@example.com", **fields)
    assert words in page
    assert 'value="typed@example.com"' in page
    typed = fields.get("webhook_url") or fields.get("email_to") or fields.get("smtp_username") or ""
    assert typed in page
    assert notice_settings_get().email_from == ""


def test_another_mail_server_takes_the_password_again(client: Client) -> None:
    mail = {"smtp_host": "mail.example.com", "smtp_username": "proxy"}
    save(client, **mail, smtp_password="pass-word")
    page = save(client, **{**mail, "smtp_host": "evil.example"})
    assert "The server has changed: enter the password again." in page
    assert notice_settings_get().smtp_host == "mail.example.com"


def test_the_test_button_says_what_became_of_it(client: Client, web: WebReceiver) -> None:
    url = "/admin/notices/noticesettings/test/webhook/"
    assert "Enter where to send to first" in client.post(url, follow=True).content.decode()
    notice_settings_update(webhook_url=web.url)
    assert "The test by webhook has arrived." in client.post(url, follow=True).content.decode()
    web.answers = [500]
    page = client.post(url, follow=True).content.decode()
    assert "The test by webhook did not arrive. It answered 500." in page
    assert "s3cret-path" not in page
    assert len(web.requests) == 2


def test_a_link_sends_no_test(client: Client, web: WebReceiver) -> None:
    notice_settings_update(webhook_url=web.url)
    assert client.get("/admin/notices/noticesettings/test/webhook/").status_code == 405
    assert client.post("/admin/notices/noticesettings/test/pigeon/").status_code == 404
    assert (
        Client(enforce_csrf_checks=True, HTTP_HOST="localhost")
        .post("/admin/notices/noticesettings/test/webhook/")
        .status_code
        == 403
    )
    assert web.requests == []


def test_the_log_shows_what_was_told_and_what_became_of_it(client: Client) -> None:
    notice_settings_update(email_on=True, smtp_host="mail", email_from=SENDER, email_to=RECIPIENT)
    event = Event(Kind.POOL_LOW, "The pool is low: 4 % left", "4 % is left.")
    notice = notice_create(event=event, channels=list(Channel), now=NOW)
    first, second = notice.deliveries.order_by("pk")
    delivery_failed(delivery=first, error="It answered 500.", is_final=False, now=NOW)
    Delivery.objects.filter(pk=second.pk).update(status="sent", ended_at=NOW, target=RECIPIENT)
    page = client.get(LOG).content.decode()
    assert "The pool is low: 4 % left" in page
    assert "It answered 500." in page
    detail = client.get(f"{LOG}{notice.pk}/change/").content.decode()
    assert "4 % is left." in detail
    assert RECIPIENT in detail


def test_the_log_is_the_program_s_own(client: Client) -> None:
    notice = notice_create(event=Event(Kind.POOL_LOW, "t", "t"), channels=[], now=NOW)
    assert client.get(f"{LOG}add/").status_code == 403
    assert client.post(f"{LOG}{notice.pk}/delete/").status_code == 403
    assert client.post(f"{LOG}{notice.pk}/change/", {"title": "x"}).status_code == 403


def test_a_notice_that_is_gone_is_a_message(client: Client) -> None:
    gone = client.get(f"{LOG}00000000-0000-0000-0000-000000000000/change/", follow=True)
    assert gone.status_code == 200
    assert client.get(f"{LOG}?deliveries__status__exact=failed&q=x").status_code == 200
