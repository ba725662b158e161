from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from proxy import limits
from proxy.affinity import Entry
from proxy.models import ModelCatalogue, StickySession
from proxy.selectors import remembered_catalogues, remembered_conversation, remembered_conversations
from proxy.services import catalogue_store, conversations_forget, conversations_store

pytestmark = pytest.mark.django_db

NOW = 1_700_000_000.0


def test_a_conversation_keeps_its_beginning_and_gets_its_last_use() -> None:
    conversations_store(entries=[("k", Entry("a", NOW))])
    created_at = StickySession.objects.get().created_at
    conversations_store(entries=[("k", Entry("b", NOW + 60))])
    row = StickySession.objects.get()
    assert (row.account_id, row.updated_at.timestamp(), row.created_at) == ("b", NOW + 60, created_at)


def test_what_was_stored_is_remembered_oldest_first() -> None:
    now = timezone.now().timestamp()
    conversations_store(entries=[("new", Entry("a", now)), ("old", Entry("b", now - 60))])
    assert [key for key, _ in remembered_conversations()] == ["old", "new"]
    entry = remembered_conversation("old")
    assert entry is not None
    assert (entry.account_id, entry.served) == ("b", True)
    assert remembered_conversation("unknown") is None


def test_old_conversations_are_forgotten() -> None:
    now = timezone.now()
    conversations_store(entries=[("new", Entry("a", now.timestamp())), ("old", Entry("b", NOW))])
    assert conversations_forget(before=now - timedelta(days=30)) == 1


def test_a_catalogue_survives_a_restart() -> None:
    catalogue_store(query="client_version=1", body=b'{"models":[]}', etag='"e"', fetched_at=NOW)
    ((query, found),) = remembered_catalogues()
    assert (query, found.body, found.etag, found.fetched_at) == (
        "client_version=1",
        b'{"models":[]}',
        '"e"',
        NOW,
    )


def test_only_the_newest_catalogues_are_kept() -> None:
    for number in range(limits.CATALOGUES + 2):
        catalogue_store(query=f"client_version={number}", body=b"{}", etag=None, fetched_at=NOW + number)
    assert ModelCatalogue.objects.count() == limits.CATALOGUES
    assert not ModelCatalogue.objects.filter(pk="client_version=0").exists()
