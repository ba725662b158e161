"""Every page of the dashboard with something on it: usable by everybody, in both themes and two widths.

With SCREENSHOTS=FOLDER it also photographs them, as docs/screenshots shows them. The pages that have no
address of their own are in test_pages_on_the_way.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import Browser, Page

from proxy.simulator import Fail, Simulator
from tests.e2e.asking import ask, send
from tests.e2e.browser import Surroundings
from tests.e2e.conftest import Start
from tests.e2e.looking import SIZES, Looker, photograph
from tests.e2e.server import RECORDS, Server, until

JSON = {"Content-Type": "application/json"}
# A page's name, and its address; {account}, {request} and so on are the first ones.
PAGES = {
    "overview": "",
    "accounts": "accounts/account/",
    "account": "accounts/account/{account}/change/",
    "probe": "accounts/account/{account}/probe/",
    "export": "accounts/account/{account}/export/",
    "groups": "accounts/accountgroup/",
    "add-group": "accounts/accountgroup/add/",
    "group": "accounts/accountgroup/{group}/change/",
    "delete-account": "accounts/account/{account}/delete/",
    "add-account": "accounts/account/add/",
    "requests": "requestlogs/requestrecord/",
    "request": "requestlogs/requestrecord/{request}/change/",
    "api-keys": "proxy/apikey/",
    "add-api-key": "proxy/apikey/add/",
    "api-key": "proxy/apikey/{key}/change/",
    "delete-api-key": "proxy/apikey/{key}/delete/",
    "firewall": "proxy/firewallentry/",
    "add-firewall-entry": "proxy/firewallentry/add/",
    "errors": "errors/",
    "prices": "usage/priceoverride/",
    "add-price": "usage/priceoverride/add/",
    "price": "usage/priceoverride/{price}/change/",
    "conversations": "proxy/stickysession/",
    "conversation": "proxy/stickysession/{conversation}/change/",
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
    "audit-entry": "accounts/auditevent/{audit}/change/",
    "background-jobs": "accounts/jobrun/",
    "json-api": "api/",
}


# A group and a price, and one notice that has arrived by e-mail and not at the webhook, where nobody listens.
MORE = """
from decimal import Decimal
from django.utils import timezone
from accounts.groups import group_save
from accounts.models import Account, AccountGroup
from accounts.notices.events import Event, Kind
from accounts.notices.models import Channel
from accounts.notices.services import (
    delivery_claim, delivery_failed, delivery_sent, notice_create, notice_settings_update
)
from usage.price_services import price_add
group_save(group=AccountGroup(name="Team"), account_ids=Account.objects.values_list("pk", flat=True))
price_add(model="gpt-5.5", tier="standard", input=Decimal(1), cached=Decimal("0.1"), output=Decimal(8))
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
    done = server.manage("shell", "-c", MORE)
    assert done.returncode == 0, done.stderr
    return server


@pytest.fixture
def opened(lived_in: Server, chromium: Browser, surroundings: Surroundings) -> Iterator[Any]:
    def first(table: str, column: str = "id") -> str:
        found = lived_in.query(f"SELECT min({column}) FROM {table}")[0][0]
        return quote(str(found))

    tables = {
        "account": "accounts_account",
        "request": RECORDS,
        "key": "proxy_apikey",
        "notice": "notices_notice",
        "group": "accounts_accountgroup",
        "price": "usage_priceoverride",
        "audit": "accounts_auditevent",
    }
    ids = {name: first(table) for name, table in tables.items()}
    ids["conversation"] = first("proxy_stickysession", "key")
    pages: dict[tuple[str, str], Page] = {}

    def visit(name: str, size: str, theme: Any) -> Page:
        if (size, theme) not in pages:
            pages[size, theme] = surroundings.open(chromium, viewport=SIZES[size], color_scheme=theme)
        page = pages[size, theme]
        page.emulate_media(color_scheme=theme)
        response = page.goto(f"{lived_in.base_url}/admin/{PAGES[name].format(**ids)}")
        assert response is not None and response.status == 200, f"{name}: {response and response.status}"
        return page

    yield visit


@pytest.mark.timeout(600)
def test_every_page_is_usable_by_everybody_and_fits_a_narrow_screen(opened: Any, looker: Looker) -> None:
    for size, theme in (("wide", "light"), ("narrow", "dark")):
        for name in PAGES:
            looker.judge(opened(name, size, theme), name, size)


@pytest.mark.skipif("SCREENSHOTS" not in os.environ, reason="only on demand")
def test_every_page_is_photographed(opened: Any) -> None:
    for name in PAGES:
        photograph(opened(name, "wide", "light"), name)
    photograph(opened("overview", "wide", "dark"), "overview-dark")
    blurred = opened("accounts", "wide", "dark")
    blurred.get_by_role("button", name="Blur e-mail addresses").click()
    blurred.locator(".cp-blur").first.wait_for()
    photograph(blurred, "accounts-blurred")
    blurred.get_by_role("button", name="Blur e-mail addresses").click()
    photograph(opened("overview", "narrow", "dark"), "overview-narrow")
