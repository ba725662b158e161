"""Pure: how often an address may be wrong before it has to wait."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

from codexproxy.locality import Address

# Whoever has one address of an IPv6 network has all of them.
_IPV6_PREFIX = 64


class FailureThrottle:
    """Counts failures within a sliding period. Bounded: who was wrong longest ago is forgotten first."""

    def __init__(self, failures: int, period_s: float, capacity: int) -> None:
        self._failures = failures
        self._period_s = period_s
        self._capacity = capacity
        self._known: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: Address | None, now: float) -> float:
        """How long until the next try counts again; 0 when it counts now."""
        times = self._known.get(_bucket(address))
        if times is None or len(times) < self._failures or times[0] > now:
            # What is still to come was seen before the clock was set back.
            return 0.0
        return max(0.0, times[0] + self._period_s - now)

    def failed(self, address: Address | None, now: float) -> None:
        times = self._known.setdefault(_bucket(address), deque(maxlen=self._failures))
        times.append(now)
        self._known.move_to_end(_bucket(address))
        if len(self._known) > self._capacity:
            self._known.popitem(last=False)


def _bucket(address: Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address or "")
