"""What a fresh install leads through."""

from __future__ import annotations

import pytest

from codexproxy.first_steps import first_steps
from proxy.probe import CLIENT
from requestlogs.models import RequestRecord
from tests.builders import make_account
from tests.codexproxy.browsing import browser

pytestmark = pytest.mark.django_db


def answered(client: str = "codex_cli_rs/0.169", status: str = "success") -> RequestRecord:
    return RequestRecord(client=client, status=status)


def done(*requests: RequestRecord, accounts: int = 0, is_locked: bool = False) -> list[bool]:
    found = [make_account(f"a{number}") for number in range(accounts)]
    return [step.is_done for step in first_steps(found, requests, is_locked=is_locked)]


def test_nothing_is_done_at_first() -> None:
    assert done() == [False] * 5


def test_each_step_is_done_by_what_it_asks_for() -> None:
    assert done(accounts=1) == [True, False, False, False, False]
    assert done(answered(status="error")) == [False, False, False, True, False]
    assert done(answered(CLIENT), is_locked=True) == [False, True, True, False, False]


def test_they_are_gone_when_a_client_has_been_answered_and_a_lock_is_nobody_s_duty() -> None:
    assert done(answered(), accounts=1) == []


def shown() -> bool:
    return "First steps" in browser().get("/admin/").content.decode()


def test_the_overview_shows_them_until_then_and_never_again() -> None:
    assert shown()
    make_account("a")
    answered().save()
    page = browser().get("/admin/").content.decode()
    assert "First steps" not in page
    assert "usage not read yet · strategy: " in page
    for _ in range(10):
        answered(status="error").save()
    assert not shown()


def test_who_wants_to_see_no_more_of_them_sends_them_away() -> None:
    operator = browser()
    assert operator.get("/admin/first-steps/dismiss/").status_code == 405
    assert operator.post("/admin/first-steps/dismiss/").headers["Location"] == "/admin/"
    assert not shown()
