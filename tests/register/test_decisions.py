"""What the review's owner decided to keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.accounts.operators.totp import enrol
from tests.codexproxy.browsing import AUTH, browser
from tests.e2e.asking import send
from tests.e2e.server import Server, until
from tests.e2e.test_sign_in import JSON, VERIFY, enrol_over_json
from tests.register.pool import Pool

FIGURES = "/api/codex/usage"

# --- D1: the dashboard is open while no code is asked for -----------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("enrolled", [False, True])
def test_d1_the_dashboard_is_open_while_no_code_is_required(enrolled: bool) -> None:
    if enrolled:
        enrol()
    client = browser()
    told = client.get(AUTH + "session").json()
    assert (told["authenticated"], told["totpRequiredOnLogin"]) == (True, False)
    assert told["totpConfigured"] is enrolled
    for path in ("/api/settings", "/api/accounts", "/admin/", "/admin/accounts/account/"):
        assert browser().get(path).status_code == 200


# --- D2: the firewall leaves the pool's figures alone ---------------------------------------------


@pytest.fixture
def another_address_listed(pool: Pool) -> Iterator[None]:
    assert pool.send("POST", "/api/firewall/ips", {"ipAddress": "203.0.113.7"}).status == 200
    pool.until_models(403)
    yield
    assert pool.send("DELETE", "/api/firewall/ips/203.0.113.7").status == 200
    pool.until_models(200)


@pytest.mark.usefixtures("another_address_listed")
def test_d2_the_firewall_covers_the_client_paths_and_not_the_pool_s_figures(pool: Pool) -> None:
    refused = pool.send("GET", "/v1/models")
    assert refused.status == 403
    expected = {"message": "Access denied for client IP", "type": "access_error", "code": "ip_forbidden"}
    assert refused.json() == {"error": expected}
    assert pool.send("GET", "/backend-api/codex/models?client_version=1").status == 403
    assert pool.send("GET", "/api/codex/usage").status == 200
    for path in ("/v1", "/backend-api/codex", "/v1/v1/models", "/v1/nope"):
        assert pool.send("GET", path).status == 403, path
    # Whole segments count.
    assert pool.send("GET", "/v1x").status == 404


def test_d2_a_required_code_is_asked_for_at_the_pool_s_figures_too(tmp_path: Path) -> None:
    server = Server(tmp_path / "served", {"CODEXPROXY_UPSTREAM_BASE_URL": "http://127.0.0.1:9/backend-api"})
    try:
        server.start()
        assert send(server, "GET", FIGURES).status == 200
        phone = enrol_over_json(server)
        assert send(server, "GET", FIGURES).status == 200
        assert send(server, "PUT", "/api/settings", b'{"totpRequiredOnLogin": true}', JSON).status == 200
        until(lambda: send(server, "GET", FIGURES).status == 401, 10, "a code is asked for")
        assert send(server, "GET", FIGURES).json()["error"]["code"] == "totp_required"
        code = f'{{"code": "{phone.code()}"}}'.encode()
        verified = send(server, "POST", VERIFY, code, JSON)
        given = [value.partition(";")[0] for name, value in verified.headers if name == "Set-Cookie"]
        assert send(server, "GET", FIGURES, headers={"Cookie": "; ".join(given)}).status == 200
    finally:
        server.kill()


# --- D4: a chat takes no audio --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg"])
def test_d4_audio_in_a_chat_is_refused_and_in_a_response_it_is_a_file(pool: Pool, kind: str) -> None:
    part = {"type": "input_audio", "input_audio": {"data": "QUJD", "format": kind}}
    messages = [{"role": "user", "content": [part]}]
    member = pool.account()
    refused = member.chat(messages=messages)
    assert (refused.status, refused.error["type"]) == (400, "invalid_request_error")
    assert refused.error["param"] == "messages[0].content[0].type"
    fields = {"model": "gpt-5.5", "messages": messages}
    assert member.send("POST", "/v1/responses", fields).status == 200
    media = {"mp3": "mpeg"}.get(kind, kind)
    found = member.asked[-1]["input"][0]["content"][0]
    assert found == {"type": "input_file", "file_url": f"data:audio/{media};base64,QUJD"}
