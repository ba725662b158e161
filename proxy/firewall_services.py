"""Reads and writes of the firewall's list, and of who was refused by it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime

from django.db import IntegrityError, transaction
from django.db.models import F

from accounts import audit, changes
from codexproxy.locality import Network
from proxy import limits
from proxy.firewall import entry_text, parse_entry
from proxy.gatekeeper import Refused
from proxy.models import FirewallEntry, FirewallRefusal


class EntryExists(Exception):
    """The address or network is on the list already."""


def firewall_networks() -> tuple[Network, ...]:
    rows = FirewallEntry.objects.values_list("network", flat=True)
    return tuple(ipaddress.ip_network(text) for text in rows)


@transaction.atomic
def firewall_add(*, text: str, note: str = "") -> FirewallEntry:
    """Raises InvalidEntry, EntryExists and ValidationError."""
    entry = FirewallEntry(network=entry_text(parse_entry(text)), note=note.strip())
    entry.full_clean(validate_unique=False)
    try:
        # RACE: two may add the same; the database lets one of them.
        with transaction.atomic():
            entry.save(force_insert=True)
    except IntegrityError:
        raise EntryExists(entry.network) from None
    audit.record("firewall_added", subject=entry.network, detail=entry.note)
    changes.bump()
    return entry


@transaction.atomic
def firewall_note(*, entry_id: int, note: str) -> None:
    entry = FirewallEntry.objects.get(pk=entry_id)
    entry.note = note.strip()[:200]
    entry.save(update_fields=["note"])
    audit.record("firewall_noted", subject=entry.network, detail=entry.note)


@transaction.atomic
def firewall_remove(*, network: str) -> None:
    """Raises FirewallEntry.DoesNotExist."""
    if not FirewallEntry.objects.filter(network=network).delete()[0]:
        raise FirewallEntry.DoesNotExist(network)
    audit.record("firewall_removed", subject=network)
    changes.bump()


def firewall_refusals(*, limit: int = 20) -> list[FirewallRefusal]:
    """Newest first."""
    return list(FirewallRefusal.objects.order_by("-last_at")[:limit])


@transaction.atomic
def refusals_store(*, refused: Mapping[str, Refused]) -> None:
    """Add to what is known of each address; the addresses that were refused longest ago are forgotten."""
    for address, seen in sorted(refused.items()):
        at = datetime.fromtimestamp(seen.last_at, UTC)
        rows = FirewallRefusal.objects.filter(pk=address)
        news = {"count": F("count") + seen.count, "path": seen.path[:200], "last_at": at}
        if not rows.update(**news):
            FirewallRefusal.objects.get_or_create(pk=address, defaults={"last_at": at})
            rows.update(**news)
    newest = FirewallRefusal.objects.order_by("-last_at").values_list("pk", flat=True)
    FirewallRefusal.objects.exclude(pk__in=list(newest[: limits.REFUSALS_REMEMBERED])).delete()
