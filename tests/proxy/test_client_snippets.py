"""The lines for each client, on the page that shows them to everybody and on that of a new key."""

from __future__ import annotations

import ast
import html
import json
import re
import subprocess
import tomllib
from collections.abc import Callable

import pytest
from django.test import Client as Browser

from proxy.client_snippets import CLIENTS, Client
from proxy.settings_services import settings_update

pytestmark = pytest.mark.django_db

ORIGIN = "http://localhost:2455"
SHELL = ["curl-snippet", "other-snippet", "codex-shell"]
Lines = Callable[[str], str]


@pytest.fixture
def browser() -> Browser:
    return Browser(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost:2455")


def connect_page(browser: Browser) -> str:
    return str(browser.get("/admin/connect/").content.decode())


def new_key_page(browser: Browser) -> str:
    form = {"name": "laptop", "enabled": "on", "limits-TOTAL_FORMS": 0, "limits-INITIAL_FORMS": 0}
    return str(browser.post("/admin/proxy/apikey/add/", form).content.decode())


@pytest.fixture(params=[connect_page, new_key_page])
def page(request: pytest.FixtureRequest, browser: Browser) -> str:
    return str(request.param(browser))


def text_of(page: str, element_id: str) -> str:
    found = re.search(rf'<pre [^>]*id="{element_id}"[^>]*>(.*?)</pre>', page, re.S)
    assert found is not None, element_id
    return html.unescape(found[1])


def key_of(page: str) -> str:
    found = re.search(r"sk-cp-[\w-]{43}", page)
    return found[0] if found else "any-key"


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.slug)
def test_each_client_has_lines_with_this_server_s_address(client: Client, page: str) -> None:
    assert ORIGIN in text_of(page, f"{client.slug}-snippet")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.slug)
def test_the_key_is_in_the_lines_or_in_those_that_set_its_variable(client: Client, page: str) -> None:
    shown = text_of(page, f"{client.slug}-{'shell' if client.shell_template else 'snippet'}")
    assert key_of(page) in shown


@pytest.mark.parametrize("slug", ["codex", "codex-app"])
def test_the_codex_lines_are_toml(slug: str, page: str) -> None:
    config = tomllib.loads(text_of(page, f"{slug}-snippet"))
    provider = config["model_providers"][config["model_provider"]]
    assert provider["base_url"] == f"{ORIGIN}/backend-api/codex"
    assert provider["supports_websockets"] is True
    if slug == "codex-app":
        assert provider["http_headers"] == {"x-api-key": key_of(page)}


def test_the_opencode_lines_are_json(page: str) -> None:
    config = json.loads(text_of(page, "opencode-snippet"))
    assert config["provider"]["openai"]["options"] == {"baseURL": f"{ORIGIN}/v1", "apiKey": key_of(page)}


def test_the_python_lines_are_python(page: str) -> None:
    ast.parse(text_of(page, "python-snippet"))


@pytest.mark.parametrize("element_id", SHELL)
def test_the_shell_lines_are_shell(element_id: str, page: str) -> None:
    lines = text_of(page, element_id)
    checked = subprocess.run(
        ["bash", "-n"], input=lines, capture_output=True, text=True, timeout=30, check=False
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("open_page", [connect_page, new_key_page])
def test_the_lines_carry_the_public_address_of_the_settings(
    open_page: Callable[[Browser], str], browser: Browser
) -> None:
    settings_update(public_base_url="https://codex.example.com/")
    page = open_page(browser)
    for client in CLIENTS:
        shown = text_of(page, f"{client.slug}-snippet")
        assert "https://codex.example.com/" in shown
        assert "codex.example.com//" not in shown
    assert ORIGIN not in page
