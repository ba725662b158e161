"""The settings form and the kept conversations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import AuditEvent
from proxy.models import Settings, StickySession
from proxy.settings_services import settings_get
from tests.builders import make_account

pytestmark = pytest.mark.django_db

FORM = "/admin/proxy/settings/1/change/"
VALUES = {
    "routing_strategy": "round_robin",
    "affinity_enabled": "on",
    "retention_days": "14",
    "session_hours": "8",
    "conversation_affinity_days": "5",
    "derived_affinity_minutes": "6",
    "upstream_silence_s": "60",
}


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def test_the_list_leads_to_the_one_form(browser: Client) -> None:
    response = browser.get("/admin/proxy/settings/")
    assert (response.status_code, response.headers["Location"]) == (302, FORM)
    assert browser.get(FORM).status_code == 200


def test_the_settings_say_that_no_conversation_is_kept(browser: Client) -> None:
    assert "What was asked and answered is kept nowhere" in browser.get(FORM).content.decode()


def test_saving_changes_the_row(browser: Client) -> None:
    browser.get("/admin/proxy/settings/")
    assert browser.post(FORM, VALUES).status_code == 302
    row = settings_get()
    assert (row.routing_strategy, row.retention_days, row.affinity_enabled) == ("round_robin", 14, True)


def test_an_error_is_shown_beside_its_field(browser: Client) -> None:
    browser.get("/admin/proxy/settings/")
    page = browser.post(FORM, VALUES | {"retention_days": "0"}).content.decode()
    assert "greater than or equal to 1" in page
    assert settings_get().retention_days == 30


def test_a_lock_that_nobody_could_open_is_refused_beside_its_field(browser: Client) -> None:
    browser.get("/admin/proxy/settings/")
    page = browser.post(FORM, VALUES | {"require_password": "on", "require_totp": "on"}).content.decode()
    assert "Set a password first" in page
    assert "Set up an authenticator first" in page
    assert not (settings_get().require_password or settings_get().require_totp)


def test_settings_cannot_be_added_or_deleted(browser: Client) -> None:
    assert browser.get("/admin/proxy/settings/add/").status_code == 403
    browser.get("/admin/proxy/settings/")
    assert browser.post("/admin/proxy/settings/1/delete/", {"post": "yes"}).status_code == 403
    assert Settings.objects.count() == 1


def test_conversations_can_be_searched_and_forgotten(browser: Client) -> None:
    StickySession.objects.create(key="conversation-1", account_id="a")
    StickySession.objects.create(key="conversation-2", account_id="b")
    page = browser.get("/admin/proxy/stickysession/?q=conversation-1").content.decode()
    assert "conversation-1" in page and "conversation-2" not in page
    browser.post(
        "/admin/proxy/stickysession/",
        {"action": "delete_selected", "_selected_action": ["conversation-1"], "post": "yes"},
    )
    assert [row.key for row in StickySession.objects.exclude(account_id="")] == ["conversation-2"]
    assert "conversation-1<" not in browser.get("/admin/proxy/stickysession/").content.decode()


def test_a_conversation_shows_its_account_by_name_and_how_it_is_recognised(browser: Client) -> None:
    make_account("a", alias="Work")
    StickySession.objects.create(key="named", account_id="a")
    StickySession.objects.create(key="derived", account_id="gone", derived=True)
    page = browser.get("/admin/proxy/stickysession/").content.decode()
    for words in ("Work", "gone", "its client&#x27;s id", "how it begins"):
        assert words in page, words


@pytest.mark.parametrize(("choice", "left"), [("week", ["day", "new"]), ("day", ["new"]), ("all", [])])
def test_conversations_that_were_not_used_for_long_are_purged(
    browser: Client, choice: str, left: list[str]
) -> None:
    now = timezone.now()
    for key, age in (("new", timedelta(hours=1)), ("day", timedelta(days=2)), ("week", timedelta(days=8))):
        StickySession.objects.create(key=key, account_id="a", updated_at=now - age)
    page = browser.post("/admin/proxy/stickysession/purge/", {"older_than": choice}, follow=True)
    kept = StickySession.objects.exclude(account_id="").order_by("pk")
    assert [row.key for row in kept] == left
    assert "taken off their accounts." in page.content.decode()
    assert AuditEvent.objects.filter(action="conversations_purged").count() == 1


def test_nonsense_purges_nothing_and_says_so(browser: Client) -> None:
    StickySession.objects.create(key="k", account_id="a")
    page = browser.post("/admin/proxy/stickysession/purge/", {"older_than": "ever"}, follow=True)
    assert "Choose which conversations are meant." in page.content.decode()
    assert StickySession.objects.get().account_id == "a"
