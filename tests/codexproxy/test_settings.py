"""What the settings promise: the headers of every page."""

from __future__ import annotations

import re

import pytest

from tests.codexproxy.browsing import browser, far_browser

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/security/", "/admin/login/", "/api/settings", "/nowhere"]
)
def test_every_answer_has_the_security_headers(path: str) -> None:
    headers = browser().get(path).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_refusal_has_them_too() -> None:
    headers = far_browser().get("/admin/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_policy_names_no_other_host_and_lets_no_inline_script_run() -> None:
    policy = browser().get("/admin/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    sources = {source for value in directives.values() for source in value.split()}
    assert sources <= {"'self'", "'none'", "'unsafe-eval'", "'unsafe-inline'", "data:"}
    assert directives["script-src"] == "'self' 'unsafe-eval'"
    assert directives["default-src"] == "'none'"


@pytest.mark.parametrize("path", ["/admin/", "/admin/security/", "/admin/proxy/settings/1/change/"])
def test_no_page_needs_an_inline_script(path: str) -> None:
    page = browser().get(path, follow=True).content.decode()
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) == []
    assert re.findall(r'\son(?:click|load|submit|change)="', page) == []
