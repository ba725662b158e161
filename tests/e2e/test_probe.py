"""The probe, in a real browser over a real server."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from proxy.simulator import Fail, Simulator
from tests.e2e.asking import ask
from tests.e2e.conftest import Start


def test_a_limited_account_is_probed_and_serves_again(sim: Simulator, serve: Start, page: Page) -> None:
    ann = sim.add_account("ann", email="ann@example.com")
    server = serve()
    ann.script(Fail.usage_limit(resets_in_seconds=3600))
    assert ask(server).status == 429

    page.goto(f"{server.base_url}/admin/accounts/account/")
    page.get_by_role("link", name="ann@example.com").first.click()
    page.get_by_role("link", name="Probe").click()
    ann.script(Fail.usage_limit(resets_in_seconds=3600))
    page.get_by_role("button", name="Send the request").click()
    expect(page.get_by_role("heading", name="It does not serve")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="usage_limit_reached").first).to_be_visible()

    page.get_by_role("button", name="Send the request").click()
    expect(page.get_by_role("heading", name="It serves")).to_be_visible()
    assert ask(server).status == 200
