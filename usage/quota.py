"""Pure: no I/O. What a reading says about a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from usage.windows import Sample

# Resets of one window differ by seconds from answer to answer.
RESET_TOLERANCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Block:
    """What was known when the block began. Times are unix seconds; percents by window."""

    blocked_at: float
    window_reset_at: float | None = None
    used_percent: Mapping[str, float] = field(default_factory=dict)


def lifts_block(block: Block, sample: Sample) -> bool:
    """Whether a reading proves that the window has rolled: a later reset, or a use that fell.

    A reading that merely shows less than 100 % proves nothing: upstream has refused all the same.
    """
    if sample.recorded_at <= block.blocked_at:
        return False
    for reading in sample.windows:
        if reading.used_percent >= 100:
            return False
    return any(
        _has_rolled(block, reading.window, reading.used_percent, reading.reset_at)
        for reading in sample.windows
    )


def _has_rolled(block: Block, window: str, used_percent: float, reset_at: float | None) -> bool:
    known_reset_at = block.window_reset_at if window == "primary" else None
    if known_reset_at is not None and reset_at is not None and reset_at > known_reset_at + RESET_TOLERANCE_S:
        return True
    known = block.used_percent.get(window)
    return known is not None and used_percent < known
