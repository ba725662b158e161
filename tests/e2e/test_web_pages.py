"""What a malicious web page can reach in a server on the same machine as the browser: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from proxy.simulator import Simulator
from tests.conftest import missing
from tests.e2e.asking import send
from tests.e2e.browser import ARGUMENTS, WAIT_MS, find_chromium
from tests.e2e.conftest import Start
from tests.e2e.server import Server

# What a page asks, each answered with what the page could see of it.
ATTACK = """
async ({base, socket}) => {
  const seen = {};
  const tries = async (name, ask) => {
    try { seen[name] = await ask(); } catch (error) { seen[name] = "nothing"; }
  };
  const text = async (path, options) => {
    const answer = await fetch(base + path, options);
    return answer.type === "opaque" ? "opaque" : answer.status + " " + await answer.text();
  };
  const turn = JSON.stringify({model: "gpt-5.5", input: [], stream: true, store: false});
  const secret = JSON.stringify({password: "the password of the page"});
  const simple = {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}};
  const json = {method: "POST", headers: {"Content-Type": "application/json"}};
  await tries("models", () => text("/v1/models"));
  await tries("models unread", () => text("/v1/models", {mode: "no-cors"}));
  await tries("turn", () => text("/v1/responses", {...json, body: turn}));
  await tries("simple turn", () => text("/v1/responses", {...simple, body: turn}));
  await tries("simple native turn", () => text("/backend-api/codex/responses", {...simple, body: turn}));
  await tries("settings", () => text("/api/settings"));
  await tries("accounts", () => text("/api/accounts"));
  await tries("metrics", () => text("/metrics"));
  await tries("page", () => text("/admin/"));
  await tries("key", () => text("/api/api-keys/", {...json, body: '{"name":"mine"}'}));
  await tries("simple key", () => text("/api/api-keys/", {...simple, body: '{"name":"mine"}'}));
  await tries("password", () => text("/api/dashboard-auth/password/setup", {...json, body: secret}));
  await tries("simple password", () => text("/api/dashboard-auth/password/setup", {...simple, body: secret}));
  await tries("import", () => {
    const form = new FormData();
    form.append("auth_json", new Blob(["{}"]), "auth.json");
    return text("/api/accounts/import", {method: "POST", mode: "no-cors", body: form});
  });
  await tries("form", () => {
    const form = new URLSearchParams({new: "the password of the page", again: "the password of the page"});
    return text("/admin/security/password/", {method: "POST", mode: "no-cors", body: form,
                                              credentials: "include"});
  });
  for (const path of ["/v1/responses", "/backend-api/codex/responses"]) {
    await tries("socket " + path, () => new Promise(resolve => {
      const client = new WebSocket(socket + path);
      client.onopen = () => { client.send(JSON.stringify({type: "response.create"})); resolve("open"); };
      client.onerror = () => resolve("nothing");
    }));
  }
  return seen;
}
"""


@pytest.fixture(scope="module")
def misled() -> Iterator[Browser]:
    """A browser for which a name of the attacker leads to this machine."""
    program = find_chromium()
    if program is None:
        missing("Chromium (Debian's package chromium)")
    with sync_playwright() as playwright:
        rules = "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost"
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, rules])
        yield browser
        browser.close()


def page_of(browser: Browser, url: str) -> Page:
    """A page whose address is `url`, and whose requests go where the browser takes them."""

    def bring(route: Route) -> None:
        route.fulfill(status=200, content_type="text/html", body="<title>harmless</title>")

    context = browser.new_context()
    context.set_default_timeout(WAIT_MS)
    context.route(url, bring)
    page = context.new_page()
    page.goto(url)
    return page


def attack(page: Page, host: str, port: int) -> dict[str, str]:
    seen: dict[str, str] = page.evaluate(
        ATTACK, {"base": f"http://{host}:{port}", "socket": f"ws://{host}:{port}"}
    )
    return seen


def state(server: Server) -> Any:
    settings, accounts, keys = (
        send(server, "GET", path).json() for path in ("/api/settings", "/api/accounts", "/api/api-keys/")
    )
    return settings, [account["accountId"] for account in accounts["accounts"]], keys


OTHER_SITES = (
    ("http://evil.example:8080/", "127.0.0.1"),
    # Another port of this machine, which a browser takes for the same site.
    ("http://127.0.0.1:8080/", "127.0.0.1"),
    ("http://localhost:8080/", "localhost"),
    ("http://localhost:8080/", "127.0.0.1"),
)


def test_a_page_of_another_site_reads_and_changes_nothing(
    sim: Simulator, serve: Start, misled: Browser
) -> None:
    sim.add_account("ann")
    server = serve()
    before = state(server)
    for page, host in OTHER_SITES:
        seen = attack(page_of(misled, page), host, server.port)
        assert {name: what for name, what in seen.items() if what not in ("nothing", "opaque")} == {}, page
    assert sim.responses() == []
    assert state(server) == before


def test_a_name_that_is_made_to_lead_here_opens_nothing(
    sim: Simulator, serve: Start, misled: Browser
) -> None:
    """DNS rebinding: the page is of the same origin, so that it may read whatever is answered."""
    sim.add_account("ann")
    server = serve()
    before = state(server)
    page = page_of(misled, f"http://evil.example:{server.port}/harmless")
    seen = attack(page, "evil.example", server.port)
    # A page of its own origin sends neither header with a GET; it is refused for the name that it uses.
    assert {name: what[:3] for name, what in seen.items() if what[:2] not in ("40", "no", "op")} == {}
    assert sim.responses() == []
    assert state(server) == before
