"""The review's high items that are about the dashboard and its figures."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections

from proxy.models import Settings
from proxy.settings_services import settings_get
from proxy.simulator import Simulator, Window, Windows, running
from tests.builders import make_account
from tests.codexproxy.browsing import browser
from tests.e2e.server import Server
from tests.register.pool import Pool
from usage.services import sample_store
from usage.windows import Sample, WindowReading

# --- H5: the settings are one row, whoever asks first ---------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_h5_twenty_first_requests_at_once_get_the_same_settings() -> None:
    Settings.objects.all().delete()
    # As many as the pool of connections has room for at once.
    first_ones, nobody_has_found_any = iter(range(8)), threading.Barrier(8, timeout=20)

    def ask(number: int) -> tuple[int, bytes]:
        looked = []

        def all_look_first(execute: Any, sql: str, *rest: Any) -> Any:
            result = execute(sql, *rest)
            if not looked and sql.startswith("SELECT") and Settings._meta.db_table in sql:
                looked.append(sql)
                if next(first_ones, None) is not None:
                    nobody_has_found_any.wait()
            return result

        try:
            with connections["default"].execute_wrapper(all_look_first):
                answer = browser().get("/api/settings")
            return answer.status_code, answer.content
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as threads:
        answers = set(threads.map(ask, range(20)))
    assert [status for status, _ in answers] == [200]
    assert list(Settings.objects.values_list("pk", flat=True)) == [1]


@pytest.mark.django_db(transaction=True)
def test_h5_who_is_overtaken_reads_the_other_s_row() -> None:
    Settings.objects.all().delete()
    pending = [lambda: Settings.objects.create(retention_days=9)]

    def overtaken(execute: Any, *query: Any) -> Any:
        result = execute(*query)
        if pending:
            with ThreadPoolExecutor(1) as another:
                another.submit(pending.pop()).result()
                another.submit(connections.close_all).result()
        return result

    with connection.execute_wrapper(overtaken):
        assert settings_get().retention_days == 9


@pytest.mark.django_db
def test_h5_there_is_never_a_second_row() -> None:
    settings_get()
    with pytest.raises(IntegrityError):
        Settings.objects.bulk_create([Settings(pk=2)])


@pytest.mark.django_db
def test_h5_the_row_cannot_be_added_or_deleted_in_the_dashboard() -> None:
    settings_get()
    for path in ("add/", "1/delete/"):
        assert browser().post(f"/admin/proxy/settings/{path}").status_code == 403
    assert Settings.objects.count() == 1


# --- H6: the settings can be changed where they are shown -----------------------------------------


class Form(HTMLParser):
    """What a browser would send: every control that is enabled, with the value that it shows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._select = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "select":
            self._select = "" if "disabled" in told else told.get("name", "")
        elif tag == "option" and self._select and "selected" in told:
            self.fields[self._select] = told["value"]
        elif tag not in ("input", "button") or "name" not in told or "disabled" in told:
            return
        elif told.get("type") != "checkbox":
            self.fields[told["name"]] = told.get("value", "")
        elif "checked" in told:
            self.fields[told["name"]] = told.get("value", "on")


@pytest.mark.django_db
def test_h6_the_form_is_enabled_and_saves() -> None:
    settings_get()
    path = "/admin/proxy/settings/1/change/"
    page = browser().get(path)
    fields = Form(page.content.decode()).fields
    assert page.status_code == 200
    assert {"affinity_enabled", "retention_days", "routing_strategy", "_save"} <= set(fields)
    del fields["affinity_enabled"]
    assert browser().post(path, fields | {"retention_days": "9"}).status_code == 302
    row = settings_get()
    assert (row.affinity_enabled, row.retention_days) == (False, 9)


@pytest.mark.django_db
def test_h6_what_is_put_is_what_is_read() -> None:
    body = {"stickyThreadsEnabled": False, "preferEarlierResetAccounts": True}
    told = browser().put("/api/settings", body, content_type="application/json")
    assert told.status_code == 200
    read = browser().get("/api/settings").json()
    assert read == told.json()
    assert {name: read[name] for name in body} == body


# --- H7: what is not known is not counted as full -------------------------------------------------


@pytest.mark.django_db
def test_h7_accounts_without_a_reading_add_no_capacity() -> None:
    for number, plan in enumerate(("plus", "plus", "pro")):
        make_account(f"acc-{number}_00000001", plan_type=plan)
    now = time.time()
    reading = Sample((WindowReading("primary", 40.0, now + 600, 300),), now, "usage")
    sample_store(account_id="acc-0_00000001", sample=reading)
    summary = browser().get("/api/usage/summary").json()
    primary, secondary = summary["primaryWindow"], summary["secondaryWindow"]
    assert (primary["capacityCredits"], primary["remainingCredits"]) == (225, 135)
    assert primary["remainingPercent"] == 60.0
    assert (secondary["capacityCredits"], secondary["remainingPercent"]) == (0, 0)
    # The list names all three, and those without a reading as full: that is its contract.
    listed = browser().get("/api/usage/window?window=primary").json()["accounts"]
    assert sorted(row["remainingCredits"] for row in listed) == [135, 225, 1500]


def test_h7_clients_are_told_what_is_known_and_no_less(tmp_path: Path) -> None:
    sim = Simulator()
    unread = [sim.add_account("unread", plan="plus"), sim.add_account("other", plan="pro")]
    with running(sim) as upstream:
        environment = {
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
            "CODEXPROXY_USAGE_REFRESH_INTERVAL_S": "0",
        }
        server = Server(tmp_path / "served", environment)
        try:
            pool = Pool(sim, server.start())
            server.import_accounts(unread)
            read = pool.unrefreshed()
            read.account.windows = Windows(Window(40, 300, int(time.time()) + 9000), None)
            answer = read.respond()
            usage = pool.send("GET", "/api/codex/usage").json()
        finally:
            server.kill()
    assert (answer.status, answer.header("x-codex-primary-used-percent")) == (200, "40.0")
    assert answer.header("x-codex-secondary-used-percent") is None
    # The unread ones are in the pool all the same: its plan is that of the greatest.
    assert (usage["plan_type"], usage["rate_limit"]["primary_window"]["used_percent"]) == ("pro", 40)


@pytest.mark.django_db
def test_h7_a_pool_without_readings_has_no_capacity() -> None:
    make_account("acc-0_00000001", plan_type="pro")
    summary = browser().get("/api/usage/summary").json()
    for name, minutes in (("primaryWindow", 300), ("secondaryWindow", 10_080)):
        found = summary[name]
        assert (found["capacityCredits"], found["remainingCredits"], found["remainingPercent"]) == (0, 0, 0)
        assert found["windowMinutes"] == minutes
