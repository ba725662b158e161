"""Pure: no I/O. What readings say about an account's limits: its state, and the end of a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from usage.windows import Sample, WindowReading

# Resets of one window differ by seconds from answer to answer.
RESET_TOLERANCE_S = 60.0
# One source rounds to whole percents, another does not: the same use may look a little smaller.
ROUNDING_PERCENT = 1.0
PRIMARY_MINUTES = 300
# How long a window beyond the five hours is taken for full when nothing says until when.
QUOTA_WITHOUT_RESET_S = 3600.0

_SETTLED = frozenset({"paused", "reauth_required", "deactivated"})


@dataclass(frozen=True, slots=True)
class Block:
    """What was known when the block began. Times are unix seconds; percents by window.

    `window_reset_at` is the reset of the 5-hour window, `reset_at` the block's own end.
    """

    blocked_at: float
    window_reset_at: float | None = None
    used_percent: Mapping[str, float] = field(default_factory=dict)
    reset_at: float | None = None

    @property
    def outlasts_primary(self) -> bool:
        """Whether it ends after the 5-hour window does: then another window is the reason for it."""
        if self.reset_at is None:
            return False
        window_ends_at = self.window_reset_at or self.blocked_at + PRIMARY_MINUTES * 60
        return self.reset_at > window_ends_at + RESET_TOLERANCE_S

    @property
    def longer_reset_at(self) -> float | None:
        """The reset of the window beyond the five hours, where it is the block's end.

        No block that we have given an end ourselves lasts so long: it is upstream's word.
        """
        if self.reset_at is None or self.reset_at <= self.blocked_at + PRIMARY_MINUTES * 60:
            return None
        return self.reset_at


def lifts_block(block: Block, sample: Sample) -> bool:
    """Whether a reading proves that the window has rolled: a later reset, or a use that fell.

    A reading that merely shows less than 100 % proves nothing: upstream has refused all the same.
    """
    if sample.recorded_at <= block.blocked_at:
        return False
    if any(reading.used_percent >= 100 for reading in sample.windows):
        return False
    return any(_has_rolled(block, reading) for reading in sample.windows)


def _has_rolled(block: Block, reading: WindowReading) -> bool:
    is_primary = reading.window == "primary"
    if is_primary and block.outlasts_primary:
        return False
    if _is_later(reading.reset_at, block.window_reset_at if is_primary else block.longer_reset_at):
        return True
    known = block.used_percent.get(reading.window)
    return known is not None and reading.used_percent < known - ROUNDING_PERCENT


def _is_later(reset_at: float | None, known: float | None) -> bool:
    return reset_at is not None and known is not None and reset_at > known + RESET_TOLERANCE_S


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one window. `reset_at` is unix seconds."""

    used_percent: float | None = None
    reset_at: float | None = None
    window_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state that follows, the use to show, and until when."""

    status: str
    used_percent: float | None
    reset_at: float | None


def status_after(
    *, status: str, primary: Known, secondary: Known, runtime_reset_at: float | None, now: float
) -> Standing:
    """The state of an account after a reading. `runtime_reset_at` is what upstream said with its refusal."""
    if status in _SETTLED:
        return Standing(status, primary.used_percent, runtime_reset_at)
    if secondary.used_percent is not None and secondary.used_percent >= 100:
        known = secondary.reset_at or _future(runtime_reset_at, now)
        return Standing("quota_exceeded", 100.0, known or now + QUOTA_WITHOUT_RESET_S)
    reset_at = runtime_reset_at
    if status == "quota_exceeded" and secondary.used_percent is None:
        reset_at = secondary.reset_at or runtime_reset_at
    elif status == "quota_exceeded" and _future(runtime_reset_at, now) is None:
        status, reset_at = "active", None
    return _after_primary(Standing(status, primary.used_percent, reset_at), primary, now)


def _after_primary(standing: Standing, primary: Known, now: float) -> Standing:
    if primary.used_percent is None:
        return standing
    if primary.used_percent >= 100:
        length_s = (primary.window_minutes or PRIMARY_MINUTES) * 60
        return Standing("rate_limited", 100.0, primary.reset_at or now + length_s)
    if standing.status != "rate_limited":
        return standing
    # Only where upstream gave no end: an account that has served its limit would otherwise be held back
    # for each new window.
    boundary = _future(standing.reset_at or primary.reset_at, now)
    return Standing("active" if boundary is None else "rate_limited", primary.used_percent, boundary)


def _future(moment: float | None, now: float) -> float | None:
    return moment if moment and moment > now else None
