from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.changes import current_version
from accounts.services import account_delete
from proxy import limits
from proxy.affinity import Entry, conversation_key
from proxy.catalogue import Catalogue, Key
from proxy.models import ModelCatalogue, StickySession
from proxy.selectors import (
    purged_conversations,
    remembered_catalogues,
    remembered_conversation,
    remembered_conversations,
)
from proxy.services import catalogue_store, conversations_forget, conversations_purge, conversations_store
from tests.builders import make_account

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


def test_whatever_a_client_calls_its_conversation_it_can_be_stored_with_the_others() -> None:
    """PostgreSQL takes no NUL, and refuses the whole group for it."""
    now = timezone.now().timestamp()
    odd = conversation_key({}, "nul\x00nul")
    conversations_store(entries=[("plain", Entry("a", now)), (odd, Entry("b", now))])
    assert {key for key, _ in remembered_conversations()} == {"plain", odd}
    assert remembered_conversation(odd) is not None


def test_old_conversations_are_forgotten() -> None:
    now = timezone.now()
    conversations_store(entries=[("new", Entry("a", now.timestamp())), ("old", Entry("b", NOW))])
    assert conversations_forget(before=now - timedelta(days=30)) == 1


def test_a_purged_conversation_is_not_remembered_and_every_process_is_told() -> None:
    now = timezone.now().timestamp()
    conversations_store(entries=[("k", Entry("a", now)), ("other", Entry("a", now))])
    before = current_version()
    assert conversations_purge(StickySession.objects.filter(pk="k")) == 1
    assert remembered_conversation("k") is None
    assert [key for key, _ in remembered_conversations()] == ["other"]
    assert [key for key, _ in purged_conversations()] == ["k"]
    assert current_version() > before


def test_a_purge_of_nothing_tells_nobody() -> None:
    before = current_version()
    assert conversations_purge(StickySession.objects.all()) == 0
    assert current_version() == before


def test_a_conversation_that_goes_on_after_a_purge_is_kept_again() -> None:
    now = timezone.now().timestamp()
    conversations_store(entries=[("k", Entry("a", now))])
    conversations_purge(StickySession.objects.all())
    conversations_store(entries=[("k", Entry("b", now + 5))])
    assert purged_conversations() == []
    entry = remembered_conversation("k")
    assert entry is not None and entry.account_id == "b"


def test_a_catalogue_survives_a_restart() -> None:
    key, catalogue = Key("client_version=1", "plus"), Catalogue(b'{"models":[]}', '"e"', NOW)
    catalogue_store(key=key, catalogue=catalogue)
    catalogue_store(key=Key("client_version=1", "pro"), catalogue=catalogue)
    assert dict(remembered_catalogues())[key] == catalogue
    assert len(remembered_catalogues()) == 2


def test_only_the_newest_catalogues_are_kept() -> None:
    for number in range(limits.CATALOGUES + 2):
        key = Key(f"client_version={number}", "plus")
        catalogue_store(key=key, catalogue=Catalogue(b"{}", None, NOW + number))
    assert ModelCatalogue.objects.count() == limits.CATALOGUES
    assert not ModelCatalogue.objects.filter(query="client_version=0").exists()


def test_a_deleted_account_leaves_no_conversation() -> None:
    account = make_account("gone")
    StickySession.objects.create(key="its", account_id=account.pk)
    StickySession.objects.create(key="another", account_id="stays")
    account_delete(account_id=account.pk)
    assert list(StickySession.objects.values_list("key", flat=True)) == ["another"]
