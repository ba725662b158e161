"""Looking at a page as different people do: on a wide and a narrow screen, in both themes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import ROOT, missing

AXE = ROOT / ".clients/axe/node_modules/axe-core/axe.min.js"
SIZES: dict[str, Any] = {"wide": {"width": 1280, "height": 900}, "narrow": {"width": 390, "height": 844}}
# axe-core judges the first in every run, both with `scripts/test --all`. That a page fits is always seen.
THEMES = {"wide": ("light", "dark"), "narrow": ("dark", "light")}
# Unfold looks at the browser's preference when a page is opened, and not again.
_WEAR = "dark => document.querySelector('html[x-data]')?.classList.toggle('dark', dark)"


def wear(page: Page, theme: Any) -> None:
    """The page as it stands, in another theme."""
    page.emulate_media(color_scheme=theme)
    page.evaluate(_WEAR, theme == "dark")


class Looker:
    """Collects what shuts somebody out, of all pages, so that one run tells everything."""

    def __init__(self, axe: str, themes: int) -> None:
        self._axe = axe
        self._themes = themes
        self.found: dict[str, list[str]] = {}

    def judge(self, page: Page, name: str, size: str) -> None:
        """At the size that the page has."""
        # Without its font an icon is a word, which axe-core takes for the words of a button.
        page.wait_for_load_state("load")
        page.evaluate("document.fonts.ready.then(() => true)")
        page.evaluate(self._axe)
        for theme in THEMES[size][: self._themes]:
            wear(page, theme)
            self._note(f"{name}, {size}, {theme}", self._violations(page))
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > SIZES[size]["width"]:
            self._note(f"{name}, {size}", [f"it is {width} px wide"])

    def look(self, page: Page, name: str) -> None:
        """At both sizes without opening it again: for a page that cannot be."""
        for size in ("narrow", "wide"):
            page.set_viewport_size(SIZES[size])
            self.judge(page, name, size)
        wear(page, "light")
        photograph(page, name)

    def _note(self, where: str, wrong: list[str]) -> None:
        if wrong:
            self.found[where] = wrong

    def _violations(self, page: Page) -> list[str]:
        """What axe-core finds that shuts somebody out: serious and critical."""
        found = page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {violation['help']} at {[node['target'] for node in violation['nodes']][:3]}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
        ]


def photograph(page: Page, name: str) -> None:
    """On demand: with SCREENSHOTS=FOLDER."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.fixture
def looker(pytestconfig: pytest.Config) -> Iterator[Looker]:
    """At the end nothing may have been found."""
    if not AXE.exists():
        missing("axe-core (scripts/clients installs it)")
    made = Looker(AXE.read_text(), themes=2 if "full or" in pytestconfig.option.markexpr else 1)
    yield made
    assert not made.found, json.dumps(made.found, indent=1)
