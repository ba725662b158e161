"""E-mail addresses are blurred on every page, for the browser that asks for it, and nothing else changes."""

from __future__ import annotations

import re
import time

import pytest
from django.test import Client

from accounts.operators.viewers import viewer_set
from codexproxy.privacy import COOKIE, DOTS, blurred
from tests.builders import make_account
from tests.codexproxy.browsing import browser, far_browser, lock_with_password

ANN = '<span class="cp-blur">ann@example.com</span>'


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>ann@example.com</p>", f"<p>{ANN}</p>"),
        ("ann@example.com", ANN),
        ("<b>Write to ann@example.com.</b>", f"<b>Write to {ANN}.</b>"),
        ("<p>&lt;ann@example.com&gt;</p>", f"<p>&lt;{ANN}&gt;</p>"),
        ("<p>a+b.c@mail.example.co.uk, or</p>",
         '<p><span class="cp-blur">a+b.c@mail.example.co.uk</span>, or</p>'),
        ("<p>@media, a@b, 3 @ 4</p>", None),
        # Where there can be no markup, dots take its place.
        ("<title>ann@example.com | x</title><p>ann@example.com</p>",
         f"<title>{DOTS} | x</title><p>{ANN}</p>"),
        ('<option value="a">ann@example.com</option>', f'<option value="a">{DOTS}</option>'),
        # What is sent back, asked for or run is not touched.
        ('<input value="ann@example.com">', '<input data-blur value="ann@example.com">'),
        ("<textarea name=a>ann@example.com</textarea>",
         "<textarea data-blur name=a>ann@example.com</textarea>"),
        ("<textarea>none</textarea><p>ann@example.com</p>",
         f"<textarea>none</textarea><p>{ANN}</p>"),
        ('<a href="?q=ann@example.com">x</a>', None),
        ('<div x-show="1 > 0" title="a > ann@example.com">x</div>', None),
        ("<script>let a = '<b>' + 'ann@example.com';</script>", None),
        ("<style>@import 'a@b.css';</style>", None),
        ("<!-- ann@example.com > -->", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_is_blurred(html: str, expected: str | None) -> None:
    assert blurred(html) == (html if expected is None else expected)


def test_a_page_that_holds_no_address_stays_byte_by_byte() -> None:
    html = "<html><body class='a > b'>5 < 6 & <p>x</p></body>"
    assert blurred(html) == html


def test_a_long_text_is_gone_through_once() -> None:
    begun = time.monotonic()
    blurred("<p>" + "a" * 200_000 + " @ </p>")
    assert time.monotonic() - begun < 2


# --- the pages ----------------------------------------------------------------------------------


def toggle(client: Client, back: str = "/admin/accounts/account/") -> str:
    response = client.post("/admin/blur/", {"next": back})
    assert response.status_code == 302
    return str(response["Location"])


@pytest.mark.django_db
def test_it_is_turned_on_and_off_by_a_form_without_any_script() -> None:
    make_account("a", email="ann@example.com")
    client = browser()
    page = "/admin/accounts/account/"
    assert ANN not in client.get(page).content.decode()
    assert toggle(client) == page
    shown = client.get(page)
    assert ANN in shown.content.decode()
    assert 'aria-pressed="true"' in shown.content.decode()
    assert int(shown["Content-Length"]) == len(shown.content)
    toggle(client)
    assert ANN not in client.get(page).content.decode()


@pytest.mark.django_db
def test_no_address_is_left_to_be_read_on_any_page() -> None:
    account = make_account("a", email="ann@example.com")
    client = browser()
    toggle(client)
    own = f"accounts/account/{account.pk}/change/"
    others = ("explain/", "requestlogs/requestrecord/", "proxy/apikey/add/", "accounts/accountgroup/add/")
    for path in ("", "accounts/account/", own, *others):
        html = client.get(f"/admin/{path}").content.decode()
        visible = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", "", html.replace(ANN, ""), flags=re.DOTALL)
        assert "ann@example.com" not in visible, path


@pytest.mark.django_db
def test_it_is_this_browser_s_own_preference() -> None:
    make_account("a", email="ann@example.com")
    client = browser()
    toggle(client)
    cookie = client.cookies[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie.value) == (True, "Lax", "1")
    assert ANN not in browser().get("/admin/").content.decode()


@pytest.mark.django_db
def test_programs_are_told_what_they_always_were() -> None:
    make_account("a", email="ann@example.com")
    client = browser()
    toggle(client)
    assert client.get("/api/accounts").json()["accounts"][0]["email"] == "ann@example.com"


@pytest.mark.django_db
@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/", "", "javascript:x"])
def test_it_leads_nowhere_else(back: str) -> None:
    assert toggle(browser(), back) == "/admin/"


@pytest.mark.django_db
def test_a_link_turns_nothing_on() -> None:
    client = browser()
    assert client.get("/admin/blur/").status_code == 405
    assert COOKIE not in client.cookies


@pytest.mark.django_db
def test_a_viewer_has_it_too() -> None:
    lock_with_password()
    viewer_set(password="only-looking-1")
    client = far_browser()
    client.post("/admin/login/", {"password": "only-looking-1"})
    assert toggle(client, "/admin/") == "/admin/"
    assert client.cookies[COOKIE].value == "1"
