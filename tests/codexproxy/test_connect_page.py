from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from proxy.client_snippets import CLIENTS
from proxy.key_services import api_key_create
from proxy.probe import CLIENT as PROBE
from proxy.settings_services import settings_update
from requestlogs.models import RequestRecord

pytestmark = pytest.mark.django_db

OPENED_AT = timezone.now() - timedelta(hours=1)


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")


def made(**fields: Any) -> RequestRecord:
    return RequestRecord.objects.create(
        **{"request_id": "a", "model": "gpt-5.5", "status": "success", "status_code": 200, **fields}
    )


def refused(**fields: Any) -> RequestRecord:
    return made(**{"status": "error", "status_code": 401, "error_code": "invalid_api_key", **fields})


def arrival(browser: Client, **asked: Any) -> str:
    """What takes the place of the line that waits; empty while that stays as it is."""
    answer = browser.get("/admin/connect/arrival/", {"since": OPENED_AT.timestamp(), **asked})
    assert answer.status_code in (200, 204)
    return str(answer.content.decode())


def test_the_page_waits_for_the_first_request(browser: Client) -> None:
    made(requested_at=OPENED_AT - timedelta(minutes=1))
    page = browser.get("/admin/connect/").content.decode()
    assert "Waiting for the first request since" in page and "/arrival/?since=" in page
    assert arrival(browser) == ""
    made(requested_at=OPENED_AT)
    arrived = arrival(browser)
    assert "✓ A request has arrived: gpt-5.5" in arrived
    assert "hx-get" not in arrived


def test_a_probe_is_no_client(browser: Client) -> None:
    made(client=PROBE)
    assert arrival(browser) == ""


def test_a_refused_request_is_told_as_one_and_the_waiting_goes_on(browser: Client) -> None:
    record = refused(model="", path="/v1/responses")
    told = arrival(browser)
    assert "it was refused (401 invalid_api_key): /v1/responses" in told
    assert f"/requestrecord/{record.pk}/change/" in told
    assert "✓" not in told and f"seen={record.pk}" in told


def test_a_failed_request_is_told_as_one(browser: Client) -> None:
    refused(status_code=502, error_code="upstream_unavailable", attempts=[{"account_id": "a"}])
    assert "it failed (502 upstream_unavailable)" in arrival(browser)


def test_a_request_whose_client_left_is_no_tick(browser: Client) -> None:
    made(status="cancelled")
    told = arrival(browser)
    assert "its client left" in told and "✓" not in told


def test_what_is_shown_already_is_not_sent_again(browser: Client) -> None:
    shown = refused()
    assert arrival(browser, seen=shown.pk) == ""
    refused(error_code="ip_forbidden", status_code=403)
    assert "403 ip_forbidden" in arrival(browser, seen=shown.pk)


def test_a_success_is_told_whatever_failed_after_it(browser: Client) -> None:
    made()
    refused()
    assert "✓" in arrival(browser)


def test_the_tick_is_that_of_the_chosen_key(browser: Client) -> None:
    key = api_key_create(name="laptop").key
    made(api_key_id=key.pk + 1)
    assert arrival(browser, key=key.pk) == ""
    made()
    assert "but without this key" in arrival(browser, key=key.pk)
    refused()
    told = arrival(browser, key=key.pk)
    assert "was refused (401 invalid_api_key)" in told and f"key={key.pk}" in told
    made(api_key_id=key.pk)
    assert "✓" in arrival(browser, key=key.pk)


def test_the_lines_for_a_chosen_key_say_where_it_goes(browser: Client) -> None:
    key = api_key_create(name="laptop").key
    api_key_create(name="old", enabled=False)
    page = browser.get("/admin/connect/", {"key": key.pk}).content.decode()
    stand_in = f"PASTE-THE-KEY-{key.prefix}-HERE"
    assert page.count(stand_in) == len(CLIENTS) + 1
    assert "with the key “laptop” since" in page and f"&amp;key={key.pk}" in page
    assert ">old<" not in page


@pytest.mark.parametrize("asked", [{"key": "x"}, {"key": "77"}, {"key": "9" * 30}])
def test_a_key_that_is_none_is_any(asked: dict[str, str], browser: Client) -> None:
    assert "any-key" in browser.get("/admin/connect/", asked).content.decode()


@pytest.mark.parametrize("since", ["", "soon", "nan", "1e400", "1e300"])
def test_a_moment_that_is_none_is_now(since: str, browser: Client) -> None:
    made(requested_at=OPENED_AT)
    assert arrival(browser, since=since) == ""


def test_the_pages_are_behind_the_gate() -> None:
    stranger = Client(REMOTE_ADDR="203.0.113.9", HTTP_HOST="localhost:2455")
    assert stranger.get("/admin/connect/").status_code == 403


def test_once_keys_are_required_it_leads_to_one(browser: Client) -> None:
    assert "any text will do as the key" in browser.get("/admin/connect/").content.decode()
    settings_update(key_auth_required=True)
    page = browser.get("/admin/connect/").content.decode()
    assert "Every client needs an API key." in page
    assert 'href="/admin/proxy/apikey/add/"' in page
