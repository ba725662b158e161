"""How many processes of one server share its port."""

from __future__ import annotations

_count = 1


def served_by(count: int) -> None:
    """Told before they are made, so that each of them knows."""
    global _count
    _count = count


def count() -> int:
    return _count
