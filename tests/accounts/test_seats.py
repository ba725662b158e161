"""Who is the same, and who is not."""

from __future__ import annotations

import pytest

from accounts.identity import UNKNOWN_EMAIL
from accounts.seats import Seat, difference

ANN = Seat("ann@example.com", "user-1", "acc-1", "ws-1")


@pytest.mark.parametrize(
    "found",
    [
        ANN,
        # A new e-mail is no new person.
        Seat("ann@new.example", "user-1", "acc-1", "ws-1"),
        Seat("ANN@example.com", "", "acc-1", ""),
        Seat(UNKNOWN_EMAIL, "", "acc-1", ""),
    ],
)
def test_the_same_person_in_the_same_workspace(found: Seat) -> None:
    assert difference(ANN, found) == ""


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Seat("ann@example.com", "user-2", "acc-1", "ws-1"), "another person"),
        (Seat("bob@example.com", "", "acc-1", "ws-1"), "another person"),
        (Seat("ann@example.com", "user-1", "acc-2", ""), "another workspace"),
        (Seat("ann@example.com", "user-1", "acc-1", "ws-2"), "another workspace"),
    ],
)
def test_another_person_or_workspace(found: Seat, words: str) -> None:
    assert words in difference(ANN, found)


def test_an_e_mail_alone_is_not_enough() -> None:
    assert "nothing but the e-mail" in difference(Seat("ann@example.com", "", "", ""), ANN)
