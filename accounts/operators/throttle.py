"""Eight wrong tries per minute, kind and address, over all processes."""

from __future__ import annotations

import ipaddress
import math
from datetime import datetime, timedelta

from accounts.operators.models import Try

LIMIT = 8
PERIOD = timedelta(seconds=60)
# Who has one IPv6 address has a whole network of them.
_IPV6_PREFIX = 64


class Throttled(Exception):
    """Too many wrong tries."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"too many wrong tries, the next one in {retry_after_s} s")
        self.retry_after_s = retry_after_s


def admit(kind: str, address: str, *, now: datetime) -> Try:
    """Count a try as a wrong one until `succeed` or `take_back` says otherwise. Raises Throttled.

    SECURITY: it is counted before it is looked at. Of many tries at the same moment each sees all that
    were counted before it, so no more than eight are ever looked at.
    """
    network = network_of(address)
    # Whoever hammers is refused without a write.
    _refuse_after(LIMIT, kind, network, now)
    forget(before=now - PERIOD)
    own = Try.objects.create(kind=kind, network=network, at=now)
    try:
        _refuse_after(LIMIT + 1, kind, network, now)
    except Throttled:
        own.delete()
        raise
    return own


def _refuse_after(count: int, kind: str, network: str, now: datetime) -> None:
    # What is still to come, by more than clocks may differ, was tried before this clock was set back.
    same = Try.objects.filter(kind=kind, network=network, at__gt=now - PERIOD, at__lt=now + PERIOD)
    newest = list(same.order_by("-at").values_list("at", flat=True)[:count])
    if len(newest) == count:
        oldest = newest[-1]
        raise Throttled(max(1, math.ceil((oldest + PERIOD - now).total_seconds())))


def succeed(kind: str, address: str) -> None:
    Try.objects.filter(kind=kind, network=network_of(address)).delete()


def take_back(own: Try) -> None:
    """It was right; the wrong ones before it still count."""
    own.delete()


def forget(*, before: datetime) -> int:
    deleted, _ = Try.objects.filter(at__lte=before).delete()
    return deleted


def network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
