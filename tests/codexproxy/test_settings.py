"""What the settings promise: the headers of every page, and where the database is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.urls import URLPattern, reverse

from accounts.groups import group_save
from accounts.models import AccountGroup
from codexproxy import env
from proxy.key_services import api_key_create
from requestlogs.models import RequestRecord
from tests.builders import make_account
from tests.codexproxy.browsing import browser, far_browser

pytestmark = pytest.mark.django_db

_OF_A_ROW = ("change", "delete", "history")


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


@pytest.mark.parametrize("path", ["/admin/", "/admin/?q=%00", "/static/%00"])
def test_a_refusal_has_them_too(path: str) -> None:
    headers = far_browser().get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_policy_names_no_other_host_and_lets_no_inline_script_run() -> None:
    policy = browser().get("/admin/").headers["Content-Security-Policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    sources = {source for value in directives.values() for source in value.split()}
    assert sources <= {"'self'", "'none'", "'unsafe-eval'", "'unsafe-inline'", "data:"}
    assert directives["script-src"] == "'self' 'unsafe-eval'"
    assert directives["default-src"] == "'none'"


def needs_inline_script(page: str) -> list[str]:
    return re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page) + re.findall(r'\son[a-z]+="[^"]*', page)


def pages_without_a_row() -> list[str]:
    """The addresses of the admin that name no row: each list, each form for a new one, each page of ours."""
    own = [pattern for pattern in admin.site.get_urls() if isinstance(pattern, URLPattern)]
    for model_admin in admin.site._registry.values():
        own += model_admin.get_urls()
    named = [pattern.name for pattern in own if pattern.name and not pattern.pattern.regex.groups]
    return sorted({reverse(f"admin:{name}") for name in named})


def pages_of_rows() -> list[str]:
    """One row of every kind that has been kept, and what is asked before it is deleted."""
    make_account("ann")
    api_key_create(name="laptop")
    group_save(group=AccountGroup(name="Team"), account_ids=["ann"])
    RequestRecord.objects.create(request_id="a", status="error", error_code="no_accounts")
    found = []
    for model in admin.site._registry:
        row = model._default_manager.first()
        if row is not None:
            names = (f"admin:{model._meta.app_label}_{model._meta.model_name}_{each}" for each in _OF_A_ROW)
            found += [reverse(name, args=[quote(str(row.pk))]) for name in names]
    return found


def test_no_page_needs_an_inline_script() -> None:
    client = browser()
    paths = pages_without_a_row() + pages_of_rows()
    assert {"/admin/", "/admin/connect/", "/admin/accounts/account/ann/change/"} <= set(paths)
    found = {}
    shown = 0
    for path in paths:
        answer = client.get(path, follow=True)
        if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
            shown += 1
            found[path] = needs_inline_script(answer.content.decode())
    assert shown > 40
    assert {path: scripts for path, scripts in found.items() if scripts} == {}


def test_the_page_of_a_new_key_needs_no_inline_script() -> None:
    form = {"name": "laptop", "enabled": "on", "limits-TOTAL_FORMS": 0, "limits-INITIAL_FORMS": 0}
    page = browser().post("/admin/proxy/apikey/add/", form).content.decode()
    assert "Your new API key" in page
    assert needs_inline_script(page) == []


URL = "postgresql://me:pass%20word@db.example/proxy"


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("CODEXPROXY_DATABASE_URL", raising=False)
    monkeypatch.delenv("CODEXPROXY_DATABASE_URL_FILE", raising=False)
    return monkeypatch


def test_the_database_s_address_may_lie_in_a_file(unset: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text(URL + "\n")
    unset.setenv("CODEXPROXY_DATABASE_URL_FILE", str(file))
    found = env.database()
    assert (found["USER"], found["PASSWORD"], found["HOST"]) == ("me", "pass word", "db.example")


def test_an_address_that_is_set_counts_for_more_than_a_file(
    unset: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(URL)
    unset.setenv("CODEXPROXY_DATABASE_URL_FILE", str(file))
    unset.setenv("CODEXPROXY_DATABASE_URL", "sqlite:////here.db")
    assert env.database()["NAME"] == "/here.db"


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), ("", "is empty")])
def test_a_file_without_an_address_starts_no_other_database(
    unset: pytest.MonkeyPatch, tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "url"
    if content is not None:
        file.write_text(content)
    unset.setenv("CODEXPROXY_DATABASE_URL_FILE", str(file))
    with pytest.raises(env.SettingError, match=words):
        env.database()


@pytest.mark.parametrize("given", ["s3cret", "mysql://me:s3cret@db/name"])
def test_what_is_no_address_of_a_database_is_not_repeated(unset: pytest.MonkeyPatch, given: str) -> None:
    unset.setenv("CODEXPROXY_DATABASE_URL", given)
    with pytest.raises(env.SettingError, match="must begin with sqlite:// or postgresql://") as refused:
        env.database()
    assert "s3cret" not in str(refused.value)
