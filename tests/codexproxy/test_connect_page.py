from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from proxy.settings_services import settings_update
from requestlogs.models import RequestRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")


def test_the_page_waits_for_the_first_request(browser: Client) -> None:
    opened_at = timezone.now()
    RequestRecord.objects.create(request_id="a", requested_at=opened_at - timedelta(minutes=1))
    address = f"/admin/connect/arrival/?since={opened_at.timestamp()}"
    waiting = browser.get(address).content.decode()
    assert "Waiting for the first request" in waiting
    assert "hx-get" in waiting
    RequestRecord.objects.create(request_id="b", requested_at=opened_at, model="gpt-5.5")
    arrived = browser.get(address).content.decode()
    assert "A request has arrived: gpt-5.5" in arrived
    assert "hx-get" not in arrived


@pytest.mark.parametrize("since", ["", "soon", "nan", "1e400"])
def test_a_moment_that_is_none_is_now(since: str, browser: Client) -> None:
    page = browser.get("/admin/connect/arrival/", {"since": since})
    assert page.status_code == 200
    assert "Waiting" in page.content.decode()


def test_the_pages_are_behind_the_gate() -> None:
    stranger = Client(REMOTE_ADDR="203.0.113.9", HTTP_HOST="localhost:2455")
    assert stranger.get("/admin/connect/").status_code == 403


def test_once_keys_are_required_it_leads_to_one(browser: Client) -> None:
    assert "any text will do as the key" in browser.get("/admin/connect/").content.decode()
    settings_update(key_auth_required=True)
    page = browser.get("/admin/connect/").content.decode()
    assert "Every client needs an API key." in page
    assert 'href="/admin/proxy/apikey/add/"' in page
