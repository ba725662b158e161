"""What an operator does all day, in a real browser against a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.simulator import Fail, Simulator
from tests.e2e.asking import ask, send, turn
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.server import Server, until

JSON = {"Content-Type": "application/json"}
LIST = "requestlogs/requestrecord/"

ENDS_IN = "(time, seconds) => { time.dateTime = new Date(Date.now() + 1000 * seconds).toISOString(); }"


@pytest.fixture
def go(page: Page) -> Callable[[Server, str], Page]:
    def visit(server: Server, path: str) -> Page:
        response = page.goto(f"{server.base_url}/admin/{path}")
        assert response is not None and response.status == 200
        return page

    return visit


def test_a_fresh_install_leads_through_its_first_steps(
    sim: Simulator, serve: Start, go: Callable[[Server, str], Page]
) -> None:
    server = serve()
    ann = sim.add_account("ann", email="ann@example.com")
    page = go(server, "")
    steps = page.get_by_role("region", name="First steps")
    expect(steps.get_by_role("listitem")).to_have_count(5)
    page.get_by_role("link", name="Add account").first.click()
    page.get_by_label("Or paste one or several").fill(json.dumps(ann.auth_json()))
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Store").click()
    page.get_by_role("link", name="Connect a client", exact=True).last.click()
    expect(page.locator("#arrival")).to_contain_text("Waiting for the first request")
    page.get_by_role("button", name="Copy the lines for curl").click()
    expect(page.get_by_role("button", name="Copy the lines for curl")).to_have_text(
        re.compile("Copied|Selected")
    )
    until(lambda: ask(server).status == 200, 10, "the new account serves")
    expect(page.locator("#arrival")).to_contain_text("✓ A request has arrived: gpt-5.5")
    go(server, "")
    expect(page.get_by_role("heading", name="Last requests")).to_be_visible()
    expect(page.get_by_text("First steps")).to_have_count(0)
    expect(page.get_by_text("All good")).to_be_visible()


def test_an_account_is_paused_and_resumed_from_its_card(
    sim: Simulator, serve: Start, go: Callable[[Server, str], Page]
) -> None:
    sim.add_account("ann", email="ann@example.com")
    server = serve()
    page = go(server, "")
    card = page.get_by_role("article").filter(has_text="ann@example.com")
    expect(card).to_contain_text("Would serve next: yes")
    card.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("Paused: ann@example.com")).to_be_visible()
    expect(card).to_contain_text("Would serve next: no, because paused by the operator.")
    until(lambda: ask(server).status == 503, 10, "the paused account does not serve")
    card.get_by_role("button", name="Resume").click()
    expect(card).to_contain_text("Would serve next: yes")
    until(lambda: ask(server).status == 200, 10, "the account serves again")


def test_a_countdown_runs_in_the_browser_s_own_time(
    sim: Simulator, serve: Start, chromium: Browser, surroundings: Surroundings
) -> None:
    account = sim.add_account("ann")
    account.windows.primary.used_percent = 40
    server = serve()
    assert ask(server).status == 200
    counted = "SELECT count(*) FROM usage_currentwindow"
    until(lambda: server.query(counted)[0][0] > 0, 10, "its usage is known")
    page = surroundings.open(chromium, timezone_id="Asia/Tokyo")
    page.goto(f"{server.base_url}/admin/")
    reset = page.locator("article time[data-until]").first
    expect(reset).to_have_text(re.compile(r"^resets in \d.* \((\d+ \w+ )?\d\d:\d\d\)$"))
    at = reset.get_attribute("datetime")
    local = page.evaluate("at => new Date(at).toTimeString().slice(0, 5)", at)
    expect(reset).to_contain_text(f"{local})")
    assert "UTC" in (reset.get_attribute("title") or "")
    # Ten minutes before the end it counts seconds, and each one is another text.
    reset.evaluate(ENDS_IN, 600)
    expect(reset).to_contain_text(re.compile(r"9 min \d+ s"))
    shown = reset.inner_text()
    expect(reset).not_to_have_text(shown)
    reset.evaluate(ENDS_IN, -1)
    expect(reset).to_have_text("reset due, waiting for fresh data")


def test_the_overview_goes_on_by_itself(
    sim: Simulator, serve: Start, page: Page, go: Callable[[Server, str], Page]
) -> None:
    sim.add_account("ann")
    server = serve()
    page.clock.install()
    go(server, "?range=1h")
    expect(page.get_by_text("No requests yet.")).to_be_visible()
    assert ask(server).status == 200 and server.wait_for_records(1)
    page.clock.run_for(11_000)
    expect(page.locator("#last-requests").get_by_text("gpt-5.5")).to_be_visible()
    page.get_by_role("link", name="by model").click()
    expect(page.get_by_role("link", name="by model")).to_have_attribute("aria-current", "page")
    assert "range=1h" in page.url
    page.get_by_text("Show as a table").nth(2).click()
    expect(page.get_by_role("columnheader", name="gpt-5.5")).to_be_visible()


HIDEABLE = """
const visibilityState = {get: () => window.isHidden ? "hidden" : "visible"};
Object.defineProperty(Document.prototype, "visibilityState", visibilityState);
"""
COUNT_POLLS = """
window.polls = 0;
const count = (event) => { window.polls += event.target.id === "overview"; };
document.body.addEventListener("htmx:beforeRequest", count);
"""


def polls_within(page: Page, seconds: int) -> int:
    """How often the overview asks for itself while the page's own clock goes on by so much."""

    def rest() -> None:
        waiting = "document.querySelector('#overview.htmx-request')"
        until(lambda: page.evaluate(f"{waiting} === null"), 30, "what was asked is answered")

    rest()
    before = page.evaluate("window.polls")
    for _ in range(seconds // 10):
        page.clock.run_for(10_000)
        rest()
    return int(page.evaluate("window.polls") - before)


def test_the_overview_asks_seldom_while_nobody_looks(
    serve: Start, page: Page, go: Callable[[Server, str], Page]
) -> None:
    page.clock.install()
    page.add_init_script(HIDEABLE)
    go(serve(), "")
    page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))
    page.evaluate(COUNT_POLLS)
    assert polls_within(page, 60) >= 6
    page.evaluate("window.isHidden = true")
    assert polls_within(page, 60) == 1
    page.evaluate("window.isHidden = false")
    assert polls_within(page, 20) >= 2


def test_requests_are_narrowed_down_by_views_filters_and_words(
    sim: Simulator, serve: Start, go: Callable[[Server, str], Page]
) -> None:
    ann = sim.add_account("ann")
    server = serve()
    assert ask(server, turn(model="gpt-5.4-mini")).status == 200
    ann.script(Fail(400, {"error": {"code": "invalid_value", "message": "This cannot be asked."}}))
    ask(server, session="the-bad-one")
    assert server.wait_for_records(2)
    page = go(server, LIST)
    rows = page.locator("#result_list tbody tr.data-row")
    expect(rows).to_have_count(2)
    page.get_by_role("link", name="Failed, 24 h").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("invalid_value")
    page.get_by_role("button", name="Filters").focus()
    page.keyboard.press("Enter")
    page.locator("#changelist-filter").get_by_role("link", name="answered", exact=True).click()
    expect(rows).to_contain_text("gpt-5.4-mini")
    go(server, f"{LIST}?q=the-bad-one")
    expect(rows).to_have_count(1)
    rows.get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()
    expect(page.get_by_text("The client was told that it failed")).to_be_visible()
    page.get_by_role("link", name="All of this cause").click()
    expect(rows).to_have_count(1)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    lines = download.value.path().read_text().splitlines()
    assert len(lines) == 2 and "invalid_value" in lines[1]


def test_the_explainer_says_who_serves_and_why_the_others_do_not(
    sim: Simulator, serve: Start, go: Callable[[Server, str], Page]
) -> None:
    ann = sim.add_account("ann", email="ann@example.com")
    sim.add_account("bob", email="bob@example.com")
    server = serve()
    ann.script(Fail.usage_limit(resets_in_seconds=3600))
    for number in range(6):
        ask(server, session=f"conversation-{number}")
    limited = "SELECT count(*) FROM accounts_account WHERE status = 'rate_limited'"
    until(lambda: server.query(limited)[0][0] == 1, 10, "the limit is known")
    assert send(server, "POST", "/api/api-keys/", b'{"name": "laptop"}', JSON).status == 200
    page = go(server, "explain/")
    page.get_by_label("API key").select_option(label="laptop")
    page.get_by_label("Strategy").select_option("round_robin")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("status").first).to_contain_text(
        "bob@example.com serves it: chosen by “round robin”."
    )
    row = page.get_by_role("row").filter(has_text="ann@example.com")
    expect(row).to_contain_text("usage limit reached")
    expect(row).to_contain_text("for another 59 min")


def test_a_purged_conversation_is_any_account_s_again(
    sim: Simulator, serve: Start, go: Callable[[Server, str], Page]
) -> None:
    sim.add_account("ann")
    sim.add_account("bob")
    server = serve()
    assert send(server, "PUT", "/api/settings", b'{"routingStrategy": "round_robin"}', JSON).status == 200
    for _ in range(3):
        assert ask(server, session="mine").status == 200
    kept = {call.account_id for call in sim.responses()}
    assert len(kept) == 1
    stored = "SELECT count(*) FROM proxy_stickysession WHERE account_id <> ''"
    until(lambda: server.query(stored)[0][0] == 1, 20, "the conversation is stored")
    page = go(server, "proxy/stickysession/")
    page.get_by_label("Take off their accounts").select_option("all")
    page.get_by_role("button", name="Purge").click()
    expect(page.get_by_text("1 conversation taken off their accounts.")).to_be_visible()
    expect(page.get_by_text("No conversations yet.")).to_be_visible()

    def moved() -> bool:
        assert ask(server, session="mine").status == 200
        return len({call.account_id for call in sim.responses()}) == 2

    until(moved, 10, "the conversation has gone to the other account")


def test_a_new_key_is_copied_and_opens_the_door_and_its_lines_are_saved_as_a_file(
    sim: Simulator, serve: Start, chromium: Browser, surroundings: Surroundings
) -> None:
    sim.add_account("ann")
    server = serve()
    page = surroundings.open(chromium, permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{server.base_url}/admin/proxy/apikey/add/")
    page.get_by_label("Name").fill("laptop")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Copy the API key").click()
    expect(page.get_by_role("button", name="Copy the API key")).to_have_text("Copied")
    key = page.evaluate("navigator.clipboard.readText()")
    assert key.startswith("sk-cp-") and key == page.locator("#new-key").inner_text()
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    body = json.dumps(turn()).encode()
    until(lambda: send(server, body=body, headers=headers).status == 200, 10, "the copied key opens")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download opencode.json for OpenCode").click()
    assert saved.value.suggested_filename == "opencode.json"
    assert json.loads(saved.value.path().read_text())["provider"]["openai"]["options"]["apiKey"] == key
