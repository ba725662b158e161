"""Leases: one process at a time does one thing, and a process that died does not keep it for ever."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.models import Lease

# By how much two machines' clocks may differ. Nobody takes a lease for longer than for its own time.
CLOCKS_DIFFER_S = 60.0


def acquire(name: str, *, holder: UUID, ttl_s: float, now: datetime) -> bool:
    """Take the lease, take over an expired one, or prolong one's own.

    One that ends later than any could was taken before the clock was set back.
    """
    rows = Lease.objects.filter(pk=name)
    expires_at = now + timedelta(seconds=ttl_s)
    impossible = Q(expires_at__gt=expires_at + timedelta(seconds=CLOCKS_DIFFER_S))
    free = rows.filter(Q(holder=holder) | Q(expires_at__lte=now) | impossible)
    if free.update(holder=holder, expires_at=expires_at):
        return True
    if rows.exists():
        return False
    try:
        with transaction.atomic():
            Lease.objects.create(name=name, holder=holder, expires_at=expires_at)
    except IntegrityError:
        # Somebody else was quicker.
        return False
    return True


def release_all(holder: UUID) -> None:
    """Give back whatever this holder has."""
    Lease.objects.filter(holder=holder).delete()


def release(name: str, holder: UUID) -> None:
    """Give it back; one that somebody else has taken over meanwhile stays theirs."""
    Lease.objects.filter(pk=name, holder=holder).delete()
