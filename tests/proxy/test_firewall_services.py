from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from django.core.exceptions import ValidationError
from django.db import connection

from accounts import changes
from accounts.models import AuditEvent
from proxy import limits
from proxy.firewall_services import (
    EntryExists,
    firewall_add,
    firewall_networks,
    firewall_refusals,
    firewall_remove,
    refusals_store,
)
from proxy.gatekeeper import Refused
from proxy.models import FirewallEntry, FirewallRefusal
from tests.proxy.fakes import NOW
from tests.proxy.test_access import networks


@pytest.mark.django_db
def test_every_process_learns_of_an_entry() -> None:
    firewall_add(text="203.0.113.7", note=" office ")
    version = changes.current_version()
    firewall_add(text="2001:DB8::/32")
    assert set(firewall_networks()) == set(networks("203.0.113.7", "2001:db8::/32"))
    assert FirewallEntry.objects.get(network="203.0.113.7").note == "office"
    firewall_remove(network="203.0.113.7")
    assert changes.current_version() == version + 2
    with pytest.raises(FirewallEntry.DoesNotExist):
        firewall_remove(network="203.0.113.7")


@pytest.mark.django_db
def test_a_note_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValidationError):
        firewall_add(text="203.0.113.7", note="x" * 201)


@pytest.mark.django_db(transaction=True)
def test_of_many_who_add_the_same_one_succeeds() -> None:
    outcomes: list[str] = []

    def add() -> None:
        try:
            firewall_add(text="203.0.113.7")
            outcomes.append("added")
        except EntryExists:
            outcomes.append("exists")
        finally:
            connection.close()

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["added", *["exists"] * 5]


@pytest.mark.django_db
def test_refusals_are_added_up_by_address() -> None:
    refusals_store(refused={"203.0.113.7": Refused(2, "/v1/models", NOW)})
    refusals_store(refused={"203.0.113.7": Refused(3, "/v1/responses", NOW + 5)})
    (row,) = firewall_refusals()
    assert (row.address, row.count, row.path) == ("203.0.113.7", 5, "/v1/responses")
    assert row.last_at == datetime.fromtimestamp(NOW + 5, UTC)


@pytest.mark.django_db
def test_only_the_newest_refusals_are_kept() -> None:
    for start in (0, limits.REFUSALS_REMEMBERED):
        addresses = range(start, start + limits.REFUSALS_REMEMBERED)
        refusals_store(refused={f"a{number:04}": Refused(1, "/v1", NOW + number) for number in addresses})
    assert FirewallRefusal.objects.count() == limits.REFUSALS_REMEMBERED
    assert firewall_refusals(limit=1)[0].address == f"a{2 * limits.REFUSALS_REMEMBERED - 1:04}"


@pytest.mark.django_db
def test_what_is_listed_and_taken_off_is_on_the_audit_log() -> None:
    firewall_add(text="203.0.113.7", note="office")
    firewall_remove(network="203.0.113.7")
    events = AuditEvent.objects.order_by("pk").values_list("action", "subject", "detail")
    assert list(events) == [
        ("firewall_added", "203.0.113.7", "office"),
        ("firewall_removed", "203.0.113.7", ""),
    ]
