"""Locking the dashboard and getting in again, in a real browser against a real server."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from accounts.operators import codes
from tests.e2e.asking import at_once, send
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.server import Server

JSON = {"Content-Type": "application/json"}
VERIFY = "/api/dashboard-auth/totp/verify"


class Authenticator:
    """The operator's phone. Each code is given once, so that none is a replay by accident."""

    def __init__(self, secret: str) -> None:
        self.secret = codes.parse_secret(secret)
        self._step = 0

    def code(self) -> str:
        """One that was not given yet and counts for a whole step yet: this one may end on the code's way."""
        present = int(time.time()) // codes.STEP_S
        self._step = max(self._step + 1, present)
        assert self._step <= present + codes.TOLERANCE_STEPS, "too many codes at once"
        return codes.code_at(self.secret, self._step)

    def wrong_code(self) -> str:
        present = int(time.time()) // codes.STEP_S
        near = {codes.code_at(self.secret, present + offset) for offset in range(-3, 4)}
        return next(text for text in (f"{number:06}" for number in range(10)) if text not in near)


def go(page: Page, server: Server, path: str) -> None:
    response = page.goto(f"{server.base_url}/admin/{path}")
    assert response is not None and response.status == 200


def enrol(page: Page, server: Server) -> tuple[Authenticator, list[str]]:
    """As a person does it: wrong code first, then the right one; returns the recovery codes."""
    go(page, server, "security/")
    page.get_by_role("link", name="Set up an authenticator").click()
    expect(page.get_by_role("img", name="QR code")).to_be_visible()
    phone = Authenticator(page.locator(".cp-secret").inner_text())
    page.get_by_label("Code").fill(phone.wrong_code())
    page.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("alert")).to_contain_text("The code does not fit")
    assert page.locator(".cp-secret").inner_text().replace(" ", "") == phone.secret
    page.get_by_label("Code").fill(phone.code())
    page.get_by_role("button", name="Confirm").click()
    shown = page.locator(".cp-codes code")
    expect(shown).to_have_count(10)
    return phone, shown.all_inner_texts()


def enrol_over_json(server: Server) -> Authenticator:
    begun = send(server, "POST", "/api/dashboard-auth/totp/setup/start", b"{}", JSON).json()
    phone = Authenticator(begun["secret"])
    body = f'{{"secret": "{phone.secret}", "code": "{phone.code()}"}}'.encode()
    assert send(server, "POST", "/api/dashboard-auth/totp/setup/confirm", body, JSON).status == 200
    return phone


def require_code(page: Page, server: Server) -> None:
    go(page, server, "proxy/settings/1/change/")
    page.get_by_label("Require a one-time code").check()
    page.get_by_role("button", name="Save", exact=True).click()


def give(page: Page, code: str) -> None:
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Sign in").click()


def is_in(page: Page) -> None:
    expect(page.get_by_role("link", name="Overview").first).to_be_visible()


def is_out(page: Page) -> None:
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("theme", ["light", pytest.param("dark", marks=pytest.mark.full)])
def test_locking_the_dashboard_and_getting_in_again(
    serve: Start, chromium: Browser, surroundings: Surroundings, theme: str
) -> None:
    server = serve()

    def opened() -> Page:
        return surroundings.open(chromium, color_scheme=theme)

    page = opened()
    go(page, server, "")
    is_in(page)
    phone, recovery_codes = enrol(page, server)
    # Nothing asks for a code before it is required.
    go(opened(), server, "")
    require_code(page, server)
    is_out(page)

    give(page, phone.wrong_code())
    expect(page.get_by_role("alert")).to_contain_text("wrong or was used already")
    used = phone.code()
    give(page, used)
    is_in(page)

    other = opened()
    go(other, server, "accounts/account/")
    give(other, used)
    expect(other.get_by_role("alert")).to_contain_text("wrong or was used already")
    give(other, recovery_codes[0])
    is_in(other)
    assert other.url.endswith("/admin/accounts/account/")
    go(other, server, "security/")
    expect(other.get_by_text("Recovery codes left: 9")).to_be_visible()

    cookies = other.context.cookies()
    log_out(other)
    is_out(other)
    other.context.add_cookies(cookies)  # type: ignore[arg-type]
    go(other, server, "")
    is_out(other)
    give(other, recovery_codes[0])
    expect(other.get_by_role("alert")).to_contain_text("wrong or was used already")
    go(page, server, "")
    is_in(page)


def log_out(page: Page) -> None:
    page.get_by_role("button", name="operator", exact=True).press("Enter")
    page.get_by_role("button", name="Log out").press("Enter")


def test_a_password_and_a_code_are_two_steps(
    serve: Start, chromium: Browser, surroundings: Surroundings, page: Page
) -> None:
    server = serve()
    phone, _ = enrol(page, server)
    go(page, server, "security/")
    page.get_by_label("New password").fill("correct horse")
    page.get_by_label("The same again").fill("correct horse")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_text("The password is set.")).to_be_visible()
    go(page, server, "proxy/settings/1/change/")
    page.get_by_label("Require password").check()
    page.get_by_label("Require a one-time code").check()
    page.get_by_role("button", name="Save", exact=True).click()

    other = surroundings.open(chromium)
    go(other, server, "")
    other.get_by_label("Password").fill("wrong horse")
    other.get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("alert")).to_contain_text("The password is wrong.")
    other.get_by_label("Password").fill("correct horse")
    other.get_by_role("button", name="Sign in").click()
    give(other, phone.code())
    is_in(other)


def test_the_sign_in_page_fits_a_phone(serve: Start, chromium: Browser, surroundings: Surroundings) -> None:
    server = serve()
    enrol_over_json(server)
    assert send(server, "PUT", "/api/settings", b'{"totpRequiredOnLogin": true}', JSON).status == 200
    page = surroundings.open(chromium, viewport={"width": 390, "height": 800})
    go(page, server, "")
    is_out(page)
    # Before its style sheets are there, a page has no width of its own.
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_phone_s_navigation_and_its_user_menu_open_by_the_keyboard(
    serve: Start, chromium: Browser, surroundings: Surroundings
) -> None:
    server = serve()
    phone = enrol_over_json(server)
    assert send(server, "PUT", "/api/settings", b'{"totpRequiredOnLogin": true}', JSON).status == 200
    page = surroundings.open(chromium, viewport={"width": 390, "height": 844}, color_scheme="light")
    go(page, server, "")
    give(page, phone.code())
    opener = page.get_by_role("button", name="Navigation", exact=True)
    close = page.get_by_role("button", name="Close the navigation")
    expect(opener).to_have_attribute("aria-expanded", "false")
    expect(page.get_by_role("link", name=re.compile(" Settings$"))).to_be_hidden()

    opener.press("Enter")
    expect(opener).to_have_attribute("aria-expanded", "true")
    expect(close).to_be_focused()
    page.keyboard.press("Escape")
    expect(close).to_be_hidden()
    expect(opener).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name=re.compile(" Settings$")).press("Enter")
    expect(page).to_have_url(re.compile("/proxy/settings/"))

    opener.press("Enter")
    # A person waits for what opens; a Tab before it would go past what is not drawn yet.
    expect(close).to_be_focused()
    menu = page.get_by_role("button", name="operator", exact=True)
    menu.press("Enter")
    expect(menu).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("button", name="Light")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.get_by_role("button", name="Dark").press("Enter")
    expect(page.locator("html")).to_have_class("dark")
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Dark")).to_be_hidden()
    expect(close).to_be_visible()
    menu.press("Enter")
    page.get_by_role("button", name="Log out").press("Enter")
    is_out(page)

    page.get_by_role("button", name="Theme", exact=True).press("Enter")
    expect(page.get_by_role("button", name="Light")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Light")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_class("light")


def test_a_wide_screen_s_navigation_is_put_away_by_the_keyboard(serve: Start, page: Page) -> None:
    go(page, serve(), "")
    toggle = page.get_by_role("button", name="Navigation", exact=True)
    expect(toggle).to_have_attribute("aria-expanded", "true")
    toggle.press("Enter")
    expect(page.get_by_role("link", name=re.compile(" Settings$"))).to_be_hidden()
    toggle.press("Enter")
    expect(page.get_by_role("link", name=re.compile(" Settings$"))).to_be_visible()


def test_a_lock_that_nobody_could_open_is_refused_beside_its_field(serve: Start, page: Page) -> None:
    server = serve()
    require_code(page, server)
    expect(page.get_by_text("Set up an authenticator first")).to_be_visible()
    go(page, server, "")
    is_in(page)


def test_the_same_code_twice_at_the_same_moment_signs_in_once(serve: Start) -> None:
    server = serve()
    phone = enrol_over_json(server)
    required = send(server, "PUT", "/api/settings", b'{"totpRequiredOnLogin": true}', JSON)
    assert required.status == 200
    code = f'{{"code": "{phone.code()}"}}'.encode()

    answers = at_once(2, lambda number: send(server, "POST", VERIFY, code, JSON))
    assert sorted(answer.status for answer in answers) == [200, 400]


def test_eight_wrong_codes_hold_up_the_ninth_in_every_worker(prepared: Start) -> None:
    server = prepared()
    server.start(("manage.py", "serve", "--port", str(server.port), "--workers", "2"))
    phone = enrol_over_json(server)
    wrong = f'{{"code": "{phone.wrong_code()}"}}'.encode()

    at_once(16, lambda number: send(server, "POST", VERIFY, wrong, JSON))
    # However they met: no more than eight were looked at, and those that are left are soon used up.
    for _ in range(8):
        send(server, "POST", VERIFY, wrong, JSON)
    looked_at = server.query("SELECT count(*) FROM accounts_auditevent WHERE action = 'totp_refused'")
    assert looked_at == [(8,)]
    refused = send(server, "POST", VERIFY, wrong, JSON)
    assert refused.status == 429
    assert re.fullmatch(r"[1-9]|[1-5]\d|60", refused.header("retry-after") or "")
    assert server.stop() == 0


def test_a_server_that_others_can_reach_warns_while_it_is_open(prepared: Start, page: Page) -> None:
    server = prepared()
    server.start(("manage.py", "serve", "--host", "0.0.0.0", "--port", str(server.port)))
    go(page, server, "")
    expect(page.get_by_role("alert")).to_contain_text("asks nobody to sign in")
    assert "The dashboard asks nobody to sign in" in server.log
    assert server.stop() == 0


def test_twenty_first_requests_for_the_settings_make_one_row(serve: Start) -> None:
    server = serve()
    assert server.query("SELECT count(*) FROM proxy_settings") == [(0,)]
    answers = at_once(20, lambda number: send(server, "GET", "/api/settings"))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert server.query("SELECT count(*) FROM proxy_settings") == [(1,)]
