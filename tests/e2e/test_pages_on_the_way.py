"""The pages that a person comes to by doing something, from the empty install to the locked one.

Each is judged, and on demand photographed, like those of test_every_page.py.
"""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Page, expect

from proxy.simulator import RefreshRefused, Simulator
from tests.accounts.signing_in import redirect_after
from tests.e2e.asking import ask
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.looking import Looker
from tests.e2e.server import Server, port_for_later, until
from tests.e2e.test_sign_in import Authenticator

PASSWORD = "correct horse"


@pytest.mark.timeout(600)
@pytest.mark.full
def test_what_one_comes_to_by_steps_is_usable_by_everybody(
    sim: Simulator, serve: Start, chromium: Browser, surroundings: Surroundings, looker: Looker
) -> None:
    server = serve(CODEXPROXY_CALLBACK_PORT=str(port_for_later()))
    sim.add_account("ann", email="ann@example.com", plan="pro")
    sim.add_account("bob", email="bob@example.com")
    page = surroundings.open(chromium)
    empty_install(page, server, looker)
    adding_an_account(page, server, looker, sim)
    signing_in_again(page, server, looker, sim)
    making_a_key(page, server, looker)
    stranger = surroundings.open(chromium, extra_http_headers={"X-Forwarded-For": "203.0.113.9"})
    go(stranger, server, "/admin/", 403)
    looker.look(stranger, "not-admitted")
    phone = locking(page, server, looker)
    signing_in(surroundings.open(chromium), server, looker, phone)


def go(page: Page, server: Server, path: str, status: int = 200) -> None:
    response = page.goto(server.base_url + path)
    assert response is not None and response.status == status, path


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def empty_install(page: Page, server: Server, looker: Looker) -> None:
    go(page, server, "/admin/")
    expect(page.get_by_text("First steps")).to_be_visible()
    looker.look(page, "overview-empty")
    go(page, server, "/admin/nowhere/", 404)
    looker.look(page, "not-found")
    go(page, server, "/admin/proxy/firewallentry/add/?network=203.0.113.7")
    press(page, "Add")
    expect(page.get_by_role("checkbox")).to_be_visible()
    looker.look(page, "firewall-confirm")


def adding_an_account(page: Page, server: Server, looker: Looker, sim: Simulator) -> None:
    go(page, server, "/admin/accounts/account/add/")
    press(page, "Sign in with the browser")
    expect(page.get_by_role("link", name="Open the sign-in page")).to_be_visible()
    looker.look(page, "sign-in-browser")
    go(page, server, "/admin/accounts/account/add/")
    press(page, "Get a code")
    expect(page.locator("#user-code")).to_be_visible()
    looker.look(page, "sign-in-device")
    go(page, server, "/admin/accounts/account/add/")
    page.get_by_label("Or paste one or several").fill(json.dumps(sim.accounts["ann"].auth_json()))
    press(page, "Preview")
    expect(page.get_by_role("rowheader", name="ann@example.com")).to_be_visible()
    looker.look(page, "import-preview")
    press(page, "Store")
    expect(page.get_by_text("its refresh token works")).to_be_visible()
    looker.look(page, "import-done")


def signing_in_again(page: Page, server: Server, looker: Looker, sim: Simulator) -> None:
    ann = sim.accounts["ann"]
    # Its token would count as brand new for a minute: one that was not verified does not.
    server.import_accounts([ann])
    ann.end_access()
    ann.script_refresh(RefreshRefused.invalidated())
    status = "SELECT status FROM accounts_account"
    until(lambda: (ask(server), server.query(status))[1] == [("reauth_required",)], 20, "it is signed out")
    go(page, server, "/admin/")
    expect(page.locator(".cp-notice-danger").first).to_contain_text("needs a new sign-in")
    looker.look(page, "overview-danger")
    page.get_by_role("link", name="Sign in again").first.click()
    finish_sign_in(page, "bob")
    expect(page.get_by_role("button", name="Keep it as an account of its own")).to_be_visible()
    looker.look(page, "sign-in-unconfirmed")
    press(page, "Cancel")
    finish_sign_in(page, "ann")
    expect(page.get_by_text("Signed in again: ann@example.com")).to_be_visible()
    looker.look(page, "sign-in-done")


def finish_sign_in(page: Page, name: str) -> None:
    """In the browser's way, by the address that the browser ends on."""
    press(page, "Sign in with the browser")
    url = page.get_by_role("link", name="Open the sign-in page").get_attribute("href")
    assert url is not None
    page.get_by_label("The address that the browser ended on").fill(redirect_after(url, name))
    press(page, "Finish the sign-in")


def making_a_key(page: Page, server: Server, looker: Looker) -> None:
    go(page, server, "/admin/proxy/apikey/add/")
    page.get_by_label("Name").fill("laptop")
    press(page, "Save")
    expect(page.locator("#new-key")).to_be_visible()
    looker.look(page, "new-api-key")
    key_id = server.query("SELECT id FROM proxy_apikey")[0][0]
    go(page, server, f"/admin/connect/?key={key_id}")
    looker.look(page, "connect-key")


def locking(page: Page, server: Server, looker: Looker) -> Authenticator:
    go(page, server, "/admin/security/authenticator/")
    phone = Authenticator(page.locator(".cp-secret").inner_text())
    page.get_by_label("Code").fill(phone.code())
    press(page, "Confirm")
    expect(page.locator(".cp-codes code")).to_have_count(10)
    looker.look(page, "recovery-codes")
    go(page, server, "/admin/security/")
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    press(page, "Set the password")
    expect(page.get_by_text("The password is set.")).to_be_visible()
    go(page, server, "/admin/proxy/settings/1/change/")
    page.get_by_label("Require password").check()
    page.get_by_label("Require a one-time code").check()
    press(page, "Save")
    expect(page.get_by_label("Code")).to_be_visible()
    return phone


def signing_in(page: Page, server: Server, looker: Looker, phone: Authenticator) -> None:
    go(page, server, "/admin/")
    expect(page.get_by_label("Password")).to_be_visible()
    looker.look(page, "sign-in")
    page.get_by_label("Password").fill(PASSWORD)
    press(page, "Sign in")
    expect(page.get_by_label("Code")).to_be_visible()
    looker.look(page, "sign-in-code")
    page.get_by_label("Code").fill(phone.code())
    press(page, "Sign in")
    expect(page.get_by_role("link", name="Overview").first).to_be_visible()
