"""From rows to notices: what the looks of a running install find, and that each is told once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from accounts import audit
from accounts.models import Account, AuditEvent
from accounts.notices.models import Notice
from accounts.notices.selectors import memory_get
from accounts.notices.services import notice_settings_update
from accounts.services import account_require_sign_in
from codexproxy.notice_watch import look
from tests.builders import NOW, make_account
from usage.models import CurrentWindow, WindowSample

pytestmark = pytest.mark.django_db

Status = Account.Status


@pytest.fixture
def on() -> None:
    notice_settings_update(webhook_on=True, webhook_url="http://127.0.0.1:9/")


def window(account: Account, used: float, name: str = "secondary", **fields: Any) -> None:
    values = {"used_percent": used, "reset_at": NOW + timedelta(days=1), "recorded_at": NOW, **fields}
    CurrentWindow.objects.update_or_create(account=account, window=name, defaults=values)


def set_to(account: Account, **fields: Any) -> None:
    Account.objects.filter(pk=account.pk).update(**fields)


def signed_in(address: str) -> None:
    with audit.acting_as(audit.Actor("operator", address)):
        event = audit.record("signed_in", detail="password")
    AuditEvent.objects.filter(pk=event.pk).update(at=NOW)


def told() -> list[str]:
    return list(Notice.objects.order_by("pk").values_list("kind", flat=True))


def test_while_nothing_is_on_nothing_is_looked_for() -> None:
    make_account("a", status=Status.REAUTH_REQUIRED)
    with CaptureQueriesContext(connection) as queries:
        assert look(now=NOW) == 0
    assert memory_get().state == {}
    assert not [query for query in queries if "accounts_account" in query["sql"]]
    assert told() == []


@pytest.mark.usefixtures("on")
def test_it_works() -> None:
    account = make_account("a")
    make_account("b")
    assert look(now=NOW) == 0
    account_require_sign_in(account_id=account.pk, reason="invalid_grant")
    assert look(now=NOW) == 1
    notice = Notice.objects.get()
    assert (notice.kind, notice.account_id) == ("account_needs_sign_in", "a")
    assert notice.text == "a@example.com needs a new sign-in. The reason: invalid_grant"
    assert look(now=NOW) == 0


@pytest.mark.usefixtures("on")
def test_an_exhausted_pool_and_its_reset() -> None:
    account = make_account("a")
    look(now=NOW)
    limit = {"blocked_at": NOW, "reset_at": NOW + timedelta(hours=1)}
    set_to(account, status=Status.RATE_LIMITED, **limit)
    look(now=NOW)
    set_to(account, status=Status.ACTIVE, blocked_at=None, reset_at=None)
    look(now=NOW + timedelta(hours=1))
    assert sorted(told()) == ["pool_exhausted", "reset_happened"]


@pytest.mark.usefixtures("on")
@pytest.mark.parametrize(
    ("status", "expected"), [(Status.RATE_LIMITED, []), (Status.QUOTA_EXCEEDED, ["pool_exhausted"])]
)
def test_a_limit_without_an_end_is_as_long_as_the_pool_takes_it(status: str, expected: list[str]) -> None:
    account = make_account("a")
    set_to(account, status=status, blocked_at=NOW, reset_at=None)
    look(now=NOW)
    assert told() == expected


@pytest.mark.usefixtures("on")
def test_a_low_pool_counts_the_accounts_in_use_and_says_when_it_is_used_up() -> None:
    account, spare = make_account("a"), make_account("b", status=Status.PAUSED)
    window(spare, 0.0)
    window(account, 80.0)
    look(now=NOW)
    for minutes, used in ((60, 80.0), (30, 84.0)):
        WindowSample.objects.create(
            account=account,
            window="secondary",
            used_percent=used,
            reset_at=NOW + timedelta(days=1),
            recorded_at=NOW - timedelta(minutes=minutes),
        )
    window(account, 88.0)
    look(now=NOW)
    notice = Notice.objects.get()
    assert notice.kind == "pool_low"
    assert notice.text.startswith(
        "12 % of the pool's weekly window is left. At the present rate it is used up"
    )
    assert notice.data["remainingPercent"] == 12.0


@pytest.mark.usefixtures("on")
def test_a_week_that_begins_anew() -> None:
    account = make_account("a")
    window(account, 97.0)
    look(now=NOW)
    assert told() == ["pool_low"]
    window(account, 1.0, reset_at=NOW + timedelta(days=7))
    look(now=NOW)
    assert sorted(told()) == ["pool_low", "reset_happened"]


@pytest.mark.usefixtures("on")
def test_a_sign_in_from_a_new_address() -> None:
    signed_in("192.0.2.1")
    look(now=NOW)
    signed_in("192.0.2.1")
    signed_in("192.0.2.2")
    look(now=NOW)
    look(now=NOW)
    notice = Notice.objects.get()
    assert notice.data == {"address": "192.0.2.2", "user": "operator", "proof": "password"}


def test_what_happened_while_it_was_off_is_not_told_when_it_goes_on() -> None:
    notice_settings_update(webhook_on=True, webhook_url="http://127.0.0.1:9/")
    look(now=NOW)
    notice_settings_update(webhook_on=False)
    look(now=NOW)
    signed_in("192.0.2.1")
    notice_settings_update(webhook_on=True)
    look(now=NOW)
    assert told() == []


@pytest.mark.usefixtures("on")
def test_a_look_is_a_handful_of_queries_however_many_accounts_there_are() -> None:
    for number in range(20):
        window(make_account(f"a{number}"), 95.0)
    look(now=NOW)
    with CaptureQueriesContext(connection) as queries:
        look(now=NOW)
    assert len(queries) <= 7


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("on")
def test_of_several_that_look_at_the_same_time_one_tells() -> None:
    make_account("a", status=Status.REAUTH_REQUIRED)
    make_account("b")
    memory_get()
    barrier = Barrier(4)

    def at_once(_: int) -> int:
        barrier.wait(10)
        try:
            return look(now=NOW)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(at_once, range(4))) == 1
    assert told() == ["account_needs_sign_in"]
