"""A real browser for the dashboard's pages: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright

from tests.conftest import missing

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-background-networking", "--disable-gpu"]
LOOPBACK = frozenset({"localhost", "127.0.0.1"})
WAIT_MS = 15_000
expect.set_options(timeout=WAIT_MS)


def find_chromium() -> str | None:
    return os.environ.get("CODEXPROXY_TEST_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


# Playwright keeps an event loop running in the test's thread while it is open, which asyncio tests of
# other files would stumble over: hence one for each file, and not for the whole run.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        missing("Chromium (Debian's package chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


class Surroundings:
    """What the pages of one test asked for and stumbled over."""

    def __init__(self) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []

    def open(self, browser: Browser, **options: object) -> Page:
        """A page in a browser profile of its own; nothing it asks for leaves this machine."""
        context = browser.new_context(**options)  # type: ignore[arg-type]
        context.set_default_timeout(WAIT_MS)
        context.route("**/*", self._pass)
        context.on("weberror", lambda failure: self.errors.append(f"{failure.page}: {failure.error}"))
        context.on("console", self._note)
        return context.new_page()

    def _note(self, message: ConsoleMessage) -> None:
        # A policy that stops a page's own script is told here and nowhere else, with the page's address too.
        # The status of the page itself is for its test to judge.
        is_of_page = message.page is not None and message.location["url"] == message.page.url
        is_status = is_of_page and message.text.startswith("Failed to load resource")
        if message.type == "error" and not is_status:
            self.errors.append(message.text)

    def _pass(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("http", "https") and address.hostname not in LOOPBACK:
            self.foreign.append(route.request.url)
            route.abort()
        else:
            route.continue_()


# Set up after the servers, so that the pages are closed before their server is: a page that still polls
# would stumble over a server that has gone.
@pytest.fixture
def surroundings(chromium: Browser, serve: object) -> Iterator[Surroundings]:
    """At the end no page may have asked another host, and no script may have failed."""
    found = Surroundings()
    yield found
    for context in chromium.contexts:
        # A page that polls may ask at this very moment, and the context would wait for its answer for ever.
        context.unroute_all(behavior="ignoreErrors")
        context.close()
    assert found.foreign == [], f"asked elsewhere: {found.foreign}"
    assert found.errors == [], f"scripts failed: {found.errors}"


@pytest.fixture
def page(chromium: Browser, surroundings: Surroundings) -> Page:
    return surroundings.open(chromium)
