"""Writes of the data plane: conversations, and the catalogue of models."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, changes
from proxy import limits
from proxy.affinity import Entry
from proxy.catalogue import Catalogue, Key
from proxy.models import ModelCatalogue, StickySession


def conversations_store(*, entries: list[tuple[str, Entry]]) -> None:
    """Insert or update; `created_at` of a known conversation stays."""
    rows = [
        StickySession(
            key=key,
            account_id=entry.account_id,
            derived=entry.derived,
            updated_at=datetime.fromtimestamp(entry.updated_at, UTC),
        )
        for key, entry in entries
    ]
    StickySession.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["account_id", "derived", "updated_at"],
    )


def conversations_forget(*, before: datetime) -> int:
    """Delete conversations that were last used before a moment; returns how many."""
    deleted, _ = StickySession.objects.filter(updated_at__lt=before).delete()
    return deleted


def conversations_leave(account_id: str) -> None:
    """The account is no more; each of its conversations is assigned anew when it goes on."""
    StickySession.objects.filter(account_id=account_id).delete()


def conversations_purge(rows: QuerySet[StickySession]) -> int:
    """Take these off their accounts, in every process within two seconds; returns how many.

    The rows stay for a while, without an account: that is how the processes learn of it.
    """
    purged = rows.exclude(account_id="").update(account_id="", updated_at=timezone.now())
    if purged:
        audit.record("conversations_purged", detail=f"{purged} conversations")
        changes.bump()
    return purged


def catalogue_store(*, key: Key, catalogue: Catalogue) -> None:
    """Keep the newest catalogue of a key."""
    values = {
        "body": catalogue.body.decode("utf-8", "replace"),
        "etag": catalogue.etag or "",
        "fetched_at": datetime.fromtimestamp(catalogue.fetched_at, UTC),
    }
    ModelCatalogue.objects.update_or_create(query=key.query, plan_type=key.plan_type, defaults=values)
    newest = ModelCatalogue.objects.order_by("-fetched_at").values_list("pk", flat=True)[: limits.CATALOGUES]
    ModelCatalogue.objects.exclude(pk__in=list(newest)).delete()
