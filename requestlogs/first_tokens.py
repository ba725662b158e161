"""Pure: how long first tokens took, kept as counts of so many ranges, so that hours can be added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

# Milliseconds. A quantile is right to within its range, of which each is twice the one before.
BOUNDS_MS = (250, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)
BEYOND = "first_tokens_beyond"
# The ranges' columns, from the quickest on.
RANGES = (*(f"first_tokens_{bound}" for bound in BOUNDS_MS), BEYOND)
_ENDS_MS: Sequence[int] = (0, *BOUNDS_MS)


def range_of(first_token_ms: int) -> str:
    """The column in which it counts: that of the first bound that it is not over."""
    for name, bound in zip(RANGES, BOUNDS_MS, strict=False):
        if first_token_ms <= bound:
            return name
    return BEYOND


def quantile_s(counts: Mapping[str, int], share: float) -> float | None:
    """Seconds within which `share` of the first tokens came; None without any.

    Evenly spread within a range; of those beyond the last bound, that bound.
    """
    total = sum(counts[name] for name in RANGES)
    if not total:
        return None
    wanted, below = share * total, 0
    for name, (low, high) in zip(RANGES, pairwise(_ENDS_MS), strict=False):
        if below + counts[name] >= wanted and counts[name]:
            return (low + (high - low) * (wanted - below) / counts[name]) / 1000
        below += counts[name]
    return BOUNDS_MS[-1] / 1000
