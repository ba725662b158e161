from __future__ import annotations

import pytest

from proxy.outcomes import LIMIT_CODES
from requestlogs.causes import HINTS, hint_for


@pytest.mark.parametrize("code", sorted(HINTS))
def test_each_hint_says_what_it_means_and_what_to_do(code: str) -> None:
    assert hint_for(code).meaning.endswith(".")
    assert hint_for(code).remedy.endswith(".")


def test_a_code_that_nobody_knows_has_a_hint_as_well() -> None:
    assert hint_for("brand_new").meaning == "An error of upstream's own."


def test_limits_are_known() -> None:
    assert LIMIT_CODES & HINTS.keys()
