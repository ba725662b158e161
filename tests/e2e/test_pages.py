"""The dashboard in a real browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from proxy.simulator import Simulator
from tests.e2e.conftest import Start

PAGES = ("", "accounts/account/", "accounts/account/add/", "requestlogs/requestrecord/", "proxy/settings/")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens_without_a_script_error_or_a_foreign_host(
    sim: Simulator, serve: Start, page: Page, path: str
) -> None:
    sim.add_account("ann")
    server = serve()
    response = page.goto(f"{server.base_url}/admin/{path}")
    assert response is not None and response.status == 200
    expect(page.get_by_role("link", name="Overview").first).to_be_visible()
