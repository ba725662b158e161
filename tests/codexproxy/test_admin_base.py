"""Figures and moments in words."""

from __future__ import annotations

import pytest

from codexproxy.admin_base import compact, moment
from tests.builders import NOW


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0"), (9999, "9,999"), (12_345, "12.3 k"), (4_560_000, "4.6 M"), (23.2e9, "23.2 G")],
)
def test_large_figures_are_short(number: float, words: str) -> None:
    assert compact(number) == words


def test_a_moment_is_told_in_utc_until_the_browser_knows_better() -> None:
    assert ">2026-11-20 12:00 UTC</time>" in moment(NOW)
    assert 'data-local="seconds">2026-11-20 12:00:00 UTC</time>' in moment(NOW, seconds=True)
