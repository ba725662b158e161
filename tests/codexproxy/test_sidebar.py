"""What pages are called."""

from __future__ import annotations

import pytest

from codexproxy.sidebar import sidebar_titles
from tests.builders import make_account
from tests.codexproxy.browsing import browser

pytestmark = pytest.mark.django_db


def heading(path: str) -> str:
    page = browser().get(path).content.decode()
    return page[page.index("<h1") : page.index("</h1>")]


def test_every_page_of_it_opens() -> None:
    for link in sidebar_titles():
        assert browser().get(link, follow=True).status_code == 200, link


@pytest.mark.parametrize(
    "link", ["/admin/proxy/stickysession/", "/admin/usage/priceoverride/", "/admin/accounts/jobrun/"]
)
def test_a_page_is_called_as_the_link_that_leads_to_it(link: str) -> None:
    assert sidebar_titles()[link] in heading(link)
    assert heading(link).count("<a ") == 1


@pytest.mark.parametrize(
    ("link", "word"),
    [("/admin/proxy/stickysession/", "conversation"), ("/admin/usage/priceoverride/", "price")],
)
def test_the_browser_s_title_has_the_word_for_one_of_them(link: str, word: str) -> None:
    page = browser().get(link).content.decode()
    assert f"Select {word} to " in page[page.index("<title>") : page.index("</title>")]


def test_a_row_stands_below_its_list_and_keeps_its_own_spelling() -> None:
    make_account("a", alias="my laptop")
    found = heading("/admin/accounts/account/a/change/")
    assert ">Accounts<" in found and ">my laptop<" in found
