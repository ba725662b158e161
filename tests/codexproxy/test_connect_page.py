from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import tomllib
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from codexproxy.connect_page import CLIENTS
from proxy.settings_services import settings_update
from requestlogs.models import RequestRecord

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")


def snippet(browser: Client, slug: str) -> str:
    page = browser.get("/admin/connect/").content.decode()
    found = re.search(rf'<pre [^>]*id="{slug}-snippet"[^>]*>(.*?)</pre>', page, re.S)
    assert found is not None
    return html.unescape(found[1])


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_has_a_snippet_with_this_server_s_address(client: object, browser: Client) -> None:
    assert "http://localhost:2455" in snippet(browser, client.slug)  # type: ignore[attr-defined]


@pytest.mark.parametrize("slug", ["codex", "codex-app"])
def test_the_codex_snippets_are_toml(slug: str, browser: Client) -> None:
    config = tomllib.loads(snippet(browser, slug))
    provider = config["model_providers"][config["model_provider"]]
    assert provider["base_url"] == "http://localhost:2455/backend-api/codex"


def test_the_opencode_snippet_is_json(browser: Client) -> None:
    config = json.loads(snippet(browser, "opencode"))
    assert config["provider"]["openai"]["options"]["baseURL"] == "http://localhost:2455/v1"


def test_the_python_snippet_is_python(browser: Client) -> None:
    ast.parse(snippet(browser, "python"))


@pytest.mark.parametrize("slug", ["curl", "other"])
def test_the_shell_snippets_are_shell(slug: str, browser: Client) -> None:
    checked = subprocess.run(
        ["bash", "-n"], input=snippet(browser, slug), capture_output=True, text=True, timeout=10, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_page_waits_for_the_first_request(browser: Client) -> None:
    opened_at = timezone.now()
    RequestRecord.objects.create(request_id="a", requested_at=opened_at - timedelta(minutes=1))
    address = f"/admin/connect/arrival/?since={opened_at.timestamp()}"
    waiting = browser.get(address).content.decode()
    assert "Waiting for the first request" in waiting
    assert "hx-get" in waiting
    RequestRecord.objects.create(request_id="b", requested_at=opened_at, model="gpt-5.5")
    arrived = browser.get(address).content.decode()
    assert "A request has arrived: gpt-5.5" in arrived
    assert "hx-get" not in arrived


@pytest.mark.parametrize("since", ["", "soon", "nan", "1e400"])
def test_a_moment_that_is_none_is_now(since: str, browser: Client) -> None:
    page = browser.get("/admin/connect/arrival/", {"since": since})
    assert page.status_code == 200
    assert "Waiting" in page.content.decode()


def test_the_pages_are_behind_the_gate() -> None:
    stranger = Client(REMOTE_ADDR="203.0.113.9", HTTP_HOST="localhost:2455")
    assert stranger.get("/admin/connect/").status_code == 403


def test_the_snippets_carry_the_public_address_of_the_settings(browser: Client) -> None:
    settings_update(public_base_url="https://codex.example.com/")
    page = browser.get("/admin/connect/").content.decode()
    assert "https://codex.example.com/backend-api/codex" in page
    assert "codex.example.com//" not in page


def test_once_keys_are_required_it_leads_to_one(browser: Client) -> None:
    assert "any text will do as the key" in browser.get("/admin/connect/").content.decode()
    settings_update(key_auth_required=True)
    page = browser.get("/admin/connect/").content.decode()
    assert "Every client needs an API key." in page
    assert 'href="/admin/proxy/apikey/add/"' in page
