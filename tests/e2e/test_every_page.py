"""Every page of the dashboard with something on it: usable by everybody, in both themes and two widths.

With SCREENSHOTS=FOLDER it also photographs them, as docs/screenshots shows them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from proxy.simulator import Fail, Simulator
from tests.conftest import ROOT, missing
from tests.e2e.asking import ask, send
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.server import RECORDS, Server, until

AXE = ROOT / ".clients/axe/node_modules/axe-core/axe.min.js"
JSON = {"Content-Type": "application/json"}
SIZES = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
# A page's name, and its address; {account}, {request}, {key} and {notice} are the first ones.
PAGES = {
    "overview": "",
    "accounts": "accounts/account/",
    "account": "accounts/account/{account}/change/",
    "probe": "accounts/account/{account}/probe/",
    "export": "accounts/account/{account}/export/",
    "groups": "accounts/accountgroup/",
    "add-group": "accounts/accountgroup/add/",
    "add-account": "accounts/account/add/",
    "requests": "requestlogs/requestrecord/",
    "request": "requestlogs/requestrecord/{request}/change/",
    "api-keys": "proxy/apikey/",
    "add-api-key": "proxy/apikey/add/",
    "api-key": "proxy/apikey/{key}/change/",
    "firewall": "proxy/firewallentry/",
    "add-firewall-entry": "proxy/firewallentry/add/",
    "errors": "errors/",
    "prices": "usage/priceoverride/",
    "add-price": "usage/priceoverride/add/",
    "conversations": "proxy/stickysession/",
    "explainer": "explain/",
    "connect": "connect/",
    "settings": "proxy/settings/1/change/",
    "security": "security/",
    "authenticator": "security/authenticator/",
    "backup": "backup/",
    "account-events": "accounts/accountevent/",
    "notices": "notices/noticesettings/1/change/",
    "notice-log": "notices/notice/",
    "notice": "notices/notice/{notice}/change/",
    "audit-log": "accounts/auditevent/",
    "background-jobs": "accounts/jobrun/",
}


# One notice that has arrived by e-mail and not at the webhook, where nobody listens.
NOTICES = """
from django.utils import timezone
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel
from accounts.notices.services import (
    delivery_claim, delivery_failed, delivery_sent, notice_create, notice_settings_update
)
notice_settings_update(
    webhook_on=True, webhook_url="http://localhost:9/hook", webhook_secret="shared", smtp_host="localhost",
    email_from="proxy@example.com", email_to="ops@example.com",
)
event = Event(Kind.SIGN_IN_NEEDED, "ann@example.com needs a new sign-in",
              "ann@example.com needs a new sign-in. The reason: refresh_token_expired",
              "ann", "ann@example.com")
notice = notice_create(event=event, channels=list(Channel), now=timezone.now())
webhook, email = notice.deliveries.order_by("pk")
for delivery, target in ((webhook, "localhost:9"), (email, "ops@example.com")):
    delivery_claim(delivery=delivery, target=target, now=timezone.now())
delivery_failed(delivery=webhook, error="It cannot be reached: Cannot connect to host localhost:9",
                is_final=True, now=timezone.now())
delivery_sent(delivery=email, now=timezone.now())
"""


@pytest.fixture
def axe() -> str:
    if not AXE.exists():
        missing("axe-core (scripts/clients installs it)")
    return AXE.read_text()


@pytest.fixture
def lived_in(sim: Simulator, serve: Start) -> Server:
    """An install that has been used: accounts, requests of every outcome, a key, a firewall entry."""
    ann = sim.add_account("ann", email="ann@example.com", plan="pro")
    bob = sim.add_account("bob", email="bob@example.com")
    server = serve()
    for number in range(3):
        assert ask(server, session=f"conversation-{number}").status == 200
    ann.script(Fail.usage_limit(resets_in_seconds=3600))
    bob.script(Fail(400, {"error": {"code": "invalid_value", "message": "This cannot be asked."}}))
    ask(server, session="another")
    key = {"name": "laptop", "limits": [{"limitType": "requests", "limitWindow": "daily", "maxValue": 500}]}
    assert send(server, "POST", "/api/api-keys/", json.dumps(key).encode(), JSON).status in (200, 201)
    entry = json.dumps({"ipAddress": "127.0.0.0/8", "note": "this machine"}).encode()
    assert send(server, "POST", "/api/firewall/ips", entry, JSON).status == 200
    until(
        lambda: server.query(f"SELECT count(*) FROM {RECORDS}")[0][0] >= 4, 20, "the requests are on record"
    )
    done = server.manage("shell", "-c", NOTICES)
    assert done.returncode == 0, done.stderr
    return server


@pytest.fixture
def opened(lived_in: Server, chromium: Browser, surroundings: Surroundings) -> Iterator[Any]:
    def first(table: str) -> str:
        found = lived_in.query(f"SELECT min(id) FROM {table}")[0][0]
        return str(found).replace("_", "_5F")

    tables = {
        "account": "accounts_account",
        "request": RECORDS,
        "key": "proxy_apikey",
        "notice": "notices_notice",
    }
    ids = {name: first(table) for name, table in tables.items()}
    pages: dict[tuple[str, str], Page] = {}

    def visit(name: str, size: str, theme: str) -> Page:
        if (size, theme) not in pages:
            pages[size, theme] = surroundings.open(chromium, viewport=SIZES[size], color_scheme=theme)
        page = pages[size, theme]
        response = page.goto(f"{lived_in.base_url}/admin/{PAGES[name].format(**ids)}")
        assert response is not None and response.status == 200, f"{name}: {response and response.status}"
        return page

    yield visit


def violations(page: Page, axe: str) -> list[str]:
    """What axe-core finds that shuts somebody out: serious and critical."""
    page.evaluate(axe)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{violation['id']}: {violation['help']} at {[node['target'] for node in violation['nodes']][:3]}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


def test_every_page_is_usable_by_everybody_and_fits_a_narrow_screen(opened: Any, axe: str) -> None:
    found: dict[str, list[str]] = {}
    for size, theme in (("wide", "light"), ("narrow", "dark")):
        for name in PAGES:
            page = opened(name, size, theme)
            wrong = violations(page, axe)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > SIZES[size]["width"]:
                wrong.append(f"it is {width} px wide")
            if wrong:
                found[f"{name}, {size}, {theme}"] = wrong
    assert not found, json.dumps(found, indent=1)


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="only on demand")
def test_every_page_is_photographed(opened: Any) -> None:
    folder = Path(os.environ["SCREENSHOTS"])
    folder.mkdir(parents=True, exist_ok=True)
    for name in PAGES:
        opened(name, "wide", "light").screenshot(path=folder / f"{name}.png", full_page=True)
    opened("overview", "wide", "dark").screenshot(path=folder / "overview-dark.png", full_page=True)
    blurred = opened("accounts", "wide", "dark")
    blurred.get_by_role("button", name="Blur e-mail addresses").click()
    blurred.locator(".cp-blur").first.wait_for()
    blurred.screenshot(path=folder / "accounts-blurred.png", full_page=True)
    blurred.get_by_role("button", name="Blur e-mail addresses").click()
    opened("overview", "narrow", "dark").screenshot(path=folder / "overview-narrow.png", full_page=True)
