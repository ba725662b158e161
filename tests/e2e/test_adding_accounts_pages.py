"""Signing in with a real browser, from the page Add account to the account."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.simulator import RefreshRefused, Simulator
from tests.accounts.signing_in import redirect_after
from tests.e2e.asking import ask
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.server import Server, port_for_later, until, write_auth_files

LIST = "/admin/accounts/account/"
ADD = f"{LIST}add/"


@pytest.fixture
def started(sim: Simulator, serve: Start) -> Server:
    """A server that knows no account; the simulator knows Ann, at home and at work, and Bob."""
    server = serve(CODEXPROXY_CALLBACK_PORT=str(port_for_later()))
    sim.add_account("ann", email="ann@example.com")
    sim.add_account("ann-at-work", email="ann@example.com", workspace="laboratory", person="ann")
    sim.add_account("bob", email="bob@example.com", plan="pro")
    return server


@pytest.fixture
def go(page: Page, started: Server) -> Callable[[str], Page]:
    def visit(path: str) -> Page:
        page.goto(started.base_url + path)
        return page

    return visit


def sign_in(page: Page, name: str) -> Page:
    """Start the browser's way and continue as somebody, in the tab that opens."""
    page.get_by_role("button", name="Sign in with the browser").click()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the sign-in page").click()
    tab = opened.value
    tab.get_by_role("link", name=name, exact=True).click()
    return tab


def test_a_browser_sign_in_comes_back_by_itself(
    go: Callable[[str], Page], sim: Simulator, started: Server
) -> None:
    page = go(ADD)
    tab = sign_in(page, "Continue as ann@example.com")
    expect(tab.get_by_role("heading", name="Signed in")).to_be_visible()
    expect(page.get_by_text("Added: ann@example.com")).to_be_visible()
    expect(page.get_by_role("link", name="Connect a client", exact=True)).to_be_visible()
    page.get_by_role("link", name="Add another account").click()
    sign_in(page, "Continue as ann@example.com in laboratory")
    expect(page.get_by_text("Added: ann@example.com")).to_be_visible()
    assert len(started.query("SELECT id FROM accounts_account WHERE email = 'ann@example.com'")) == 2
    page.get_by_role("link", name="All accounts").click()
    expect(page.get_by_role("cell", name="laboratory")).to_be_visible()
    until(lambda: ask(started).status == 200, 10, "the new accounts serve")
    assert sim.violations == []


def test_an_address_is_pasted(go: Callable[[str], Page]) -> None:
    page = go(ADD)
    page.get_by_role("button", name="Sign in with the browser").click()
    url = page.get_by_role("link", name="Open the sign-in page").get_attribute("href")
    assert url is not None
    field = page.get_by_label("The address that the browser ended on")
    field.fill(url)
    page.get_by_role("button", name="Finish the sign-in").click()
    expect(page.get_by_text("That is the address of the sign-in page.")).to_be_visible()
    field.fill(redirect_after(url, "bob"))
    page.get_by_role("button", name="Finish the sign-in").click()
    expect(page.get_by_text("Added: bob@example.com")).to_be_visible()


def test_typing_survives_the_polling(go: Callable[[str], Page]) -> None:
    page = go(ADD)
    page.get_by_role("button", name="Sign in with the browser").click()
    field = page.get_by_label("The address that the browser ended on")
    field.fill("half an address")
    with page.expect_response(re.compile(r"/state/$")):
        pass
    expect(field).to_have_value("half an address")
    expect(page.locator("#waiting")).to_contain_text(re.compile(r"expires in 14:\d\d"))


def test_a_device_code_is_entered_in_another_tab(go: Callable[[str], Page]) -> None:
    page = go(ADD)
    page.get_by_role("button", name="Get a code").click()
    code = page.locator(".cp-user-code").inner_text()
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open the page for codes").click()
    tab = opened.value
    tab.get_by_label("Code").fill(code)
    tab.get_by_role("button", name="Continue").click()
    tab.get_by_role("link", name="Continue as bob@example.com").click()
    expect(page.get_by_text("Added: bob@example.com")).to_be_visible()


def test_files_are_dropped_previewed_and_stored(
    go: Callable[[str], Page], sim: Simulator, tmp_path: Path
) -> None:
    paths = write_auth_files(tmp_path, [sim.accounts["ann"], sim.accounts["bob"]])
    page = go(ADD)
    page.get_by_label("Choose or drop files").set_input_files(paths)
    page.get_by_role("button", name="Preview").click()
    for words in ("ann@example.com", "bob@example.com"):
        expect(page.get_by_role("rowheader", name=words)).to_be_visible()
    expect(page.get_by_text("A new account")).to_have_count(2)
    sim.accounts["bob"].script_refresh(RefreshRefused.expired())
    page.get_by_role("button", name="Store").click()
    results = page.get_by_role("listitem")
    expect(results.filter(has_text="ann@example.com")).to_contain_text("its refresh token works")
    expect(results.filter(has_text="bob@example.com")).to_contain_text("The sign-in has expired")


def test_an_account_that_is_signed_out_comes_back_with_a_click(
    go: Callable[[str], Page], sim: Simulator, started: Server
) -> None:
    ann = sim.accounts["ann"]
    started.import_accounts([ann])
    ann.end_access()
    ann.script_refresh(RefreshRefused.invalidated())
    status = "SELECT status FROM accounts_account"
    until(lambda: (ask(started), started.query(status))[1] == [("reauth_required",)], 20, "it is signed out")
    page = go(LIST)
    page.get_by_role("link", name="Sign in again: ann@example.com").click()
    sign_in(page, "Continue as bob@example.com")
    expect(page.get_by_text("bob@example.com, not ann@example.com")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    sign_in(page, "Continue as ann@example.com")
    expect(page.get_by_text("Signed in again: ann@example.com")).to_be_visible()
    assert started.query(status) == [("active",)]


def test_a_script_in_the_callback_stays_text(go: Callable[[str], Page]) -> None:
    page = go(ADD)
    page.get_by_role("button", name="Sign in with the browser").click()
    url = page.get_by_role("link", name="Open the sign-in page").get_attribute("href")
    assert url is not None
    redirected = redirect_after(url, "ann")
    attack = "%3Cscript%3Ewindow.hacked=1%3C/script%3E%3Cimg%20src=x%20onerror=window.hacked=1%3E"
    base, state = redirected.partition("?")[0], redirected.partition("state=")[2].partition("&")[0]
    tab = page.context.new_page()
    tab.goto(f"{base}?state={state}&error=x&error_description={attack}")
    expect(tab.get_by_text("<script>window.hacked=1</script>")).to_be_visible()
    expect(page.get_by_text("<script>window.hacked=1</script>")).to_be_visible()
    assert [each.evaluate("window.hacked") for each in (tab, page)] == [None, None]


def test_another_browser_does_not_see_the_flow(
    go: Callable[[str], Page], chromium: Browser, surroundings: Surroundings
) -> None:
    page = go(ADD)
    page.get_by_role("button", name="Get a code").click()
    expect(page.locator(".cp-user-code")).to_be_visible()
    other = surroundings.open(chromium)
    other.goto(page.url)
    expect(other.get_by_text("was started in another browser, or is long over")).to_be_visible()
    expect(other.locator(".cp-user-code")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(
    chromium: Browser, surroundings: Surroundings, started: Server, scheme: str
) -> None:
    page = surroundings.open(chromium, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.goto(started.base_url + ADD)
    expect(page.get_by_role("button", name="Sign in with the browser")).to_be_visible()
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_pasted_text_is_previewed(go: Callable[[str], Page], sim: Simulator) -> None:
    page = go(ADD)
    page.get_by_label("Or paste one or several").fill(json.dumps(sim.accounts["ann"].auth_json()))
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("rowheader", name="ann@example.com")).to_be_visible()
