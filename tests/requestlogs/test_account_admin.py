"""What the accounts' pages tell of their requests."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from requestlogs.records import Record
from requestlogs.writer import records_store
from tests.builders import make_account
from tests.codexproxy.browsing import browser

pytestmark = pytest.mark.django_db

LIST = "/admin/accounts/account/"


def store(account_id: str, *, hours_ago: float = 0, **fields: Any) -> None:
    at = timezone.now() - timedelta(hours=hours_ago, minutes=5)
    records_store([Record("rid", at, **{"account_id": account_id, "status": "success", **fields})])


def page(path: str = LIST) -> str:
    answer = browser().get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def cells(found: str, name: str) -> list[str]:
    """The texts of one column."""
    whole = re.findall(rf'<td class="[^"]*field-{name}[^"]*"[^>]*>(.*?)</td>', found, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in whole]


def listed(query: str) -> list[str]:
    return [row.pk for row in browser().get(f"{LIST}?{query}").context["cl"].result_list]


def test_the_list_says_when_an_account_was_used_last() -> None:
    ends = timezone.now() + timedelta(days=3, hours=2, minutes=30)
    make_account("a", access_expires_at=ends)
    make_account("b", access_expires_at=None)
    store("a", hours_ago=7)
    store("a", hours_ago=2)
    assert cells(page(), "last_used") == ["2 h 5 min ago token ends in 3 d 2 h", "– token ends –"]


def test_the_list_says_whose_turn_it_is_and_leads_to_the_probe() -> None:
    make_account("a", routing_policy="burn_first", stop_at_percent=80)
    found = page()
    assert cells(found, "policy") == ["burn first stops at 80 %"]
    assert f'href="{LIST}a/probe/"' in found


def test_the_list_can_be_filtered_by_failures_of_the_last_day() -> None:
    for name in ("failing", "fine", "mended"):
        make_account(name)
        store(name)
    store("failing", status="error", error_code="server_error")
    store("mended", status="error", error_code="server_error", hours_ago=30)
    assert listed("errors=yes") == ["failing"]
    assert listed("errors=no") == ["fine", "mended"]


def test_more_accounts_and_requests_ask_the_database_no_more_often() -> None:
    def asked() -> list[str]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(f"{LIST}?errors=yes")
        return [query["sql"] for query in queries]

    make_account("a")
    store("a", status="error")
    page()
    few = asked()
    for number in range(20):
        make_account(f"b{number}")
        store(f"b{number}", status="error")
    many = asked()
    assert len(many) <= len(few)
    # Failures are told by the sums of the hours; the rows are looked up by account, and never counted.
    rows = [sql for sql in many if "requestlogs_requestrecord" in sql]
    assert len(rows) == 1 and "LIMIT 1" in rows[0]


def test_the_page_of_an_account_lists_its_last_ten_requests_and_nobody_elses() -> None:
    make_account("a")
    for number in range(12):
        store("a", hours_ago=number, model=f"model-{number:02}")
    store("b", model="of-another")
    found = page(f"{LIST}a/change/")
    assert re.findall(r"model-\d\d|of-another", found) == [f"model-{number:02}" for number in range(10)]
