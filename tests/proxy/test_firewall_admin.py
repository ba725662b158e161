from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client

from proxy.firewall_services import firewall_add, refusals_store
from proxy.gatekeeper import Refused
from proxy.models import FirewallEntry

pytestmark = pytest.mark.django_db

LIST = "/admin/proxy/firewallentry/"
ADD = f"{LIST}add/"


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def test_the_page_says_who_may_connect(browser: Client) -> None:
    page = browser.get(LIST).content.decode()
    assert "Everyone who has an API key may connect, and programs on this machine" in page
    assert "Your address is 127.0.0.1" in page and "Nobody yet" in page
    firewall_add(text="203.0.113.7", note="office")
    page = browser.get(LIST).content.decode()
    for part in ("Only this one address or network", "not on the list", "Add 127.0.0.1", "office"):
        assert part in page


def test_whom_it_refused_is_shown(browser: Client) -> None:
    now = datetime.now(UTC).timestamp()
    refusals_store(refused={"198.51.100.9": Refused(3, "/v1/models", now)})
    page = browser.get(LIST).content.decode()
    assert "198.51.100.9" in page and "/v1/models" in page


def test_nobody_shuts_out_himself_unawares(browser: Client) -> None:
    assert "Your address is <strong>127.0.0.1</strong>" in browser.get(ADD).content.decode()
    page = browser.post(ADD, {"network": "203.0.113.7"}).content.decode()
    assert "Programs at your own address (127.0.0.1) could not connect any more" in page
    assert FirewallEntry.objects.count() == 0
    assert browser.post(ADD, {"network": "203.0.113.7", "confirmed": "on"}).status_code == 302
    assert [entry.network for entry in FirewallEntry.objects.all()] == ["203.0.113.7"]


def test_what_admits_oneself_needs_no_confirmation(browser: Client) -> None:
    assert browser.post(ADD, {"network": "127.0.0.0/8", "note": "here"}).status_code == 302
    assert browser.post(ADD, {"network": "203.0.113.7"}).status_code == 302
    assert FirewallEntry.objects.count() == 2


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("garbage", "neither an IP address"),
        ("10.0.0.1/8", "Did you mean"),
        ("127.0.0.1", "on the list already"),
    ],
)
def test_what_cannot_be_added_is_explained(browser: Client, network: str, words: str) -> None:
    firewall_add(text="127.0.0.1")
    assert words in browser.post(ADD, {"network": network}).content.decode()
    assert FirewallEntry.objects.count() == 1


def test_taking_oneself_off_is_told(browser: Client) -> None:
    own, other = firewall_add(text="127.0.0.1"), firewall_add(text="203.0.113.7")
    answer = browser.post(f"{LIST}{own.pk}/delete/", {"post": "yes"}, follow=True)
    assert "cannot connect now" in answer.content.decode()
    browser.post(f"{LIST}{other.pk}/change/", {"note": "renamed"})
    assert FirewallEntry.objects.get().note == "renamed"
