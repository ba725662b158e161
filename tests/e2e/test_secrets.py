"""After an install has been used in every way, no secret is anywhere but where it belongs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from websockets.sync.client import connect

from proxy.simulator import Fail, RefreshRefused, Simulator
from tests.accounts.notices.receivers import WebReceiver, web_receiver
from tests.accounts.signing_in import redirect_after
from tests.e2e.asking import RESPONSES, Answer, ask, send, turn
from tests.e2e.conftest import Start
from tests.e2e.database import IS_POSTGRES
from tests.e2e.server import RECORDS, Server, port_for_later, until
from tests.e2e.test_keys import make_key
from tests.e2e.test_sign_in import Authenticator
from tests.proxy.test_key_admin import form as key_form
from tests.proxy.test_key_admin import shown_key

JSON = {"Content-Type": "application/json"}
PAGES = (
    *(f"/admin/{page}" for page in (
        "", "accounts/account/", "accounts/account/add/", "requestlogs/requestrecord/",
        "requestlogs/requestrecord/export/", "accounts/auditevent/", "proxy/apikey/", "proxy/firewallentry/",
        "proxy/settings/1/change/", "proxy/stickysession/", "errors/", "explain/", "connect/", "security/",
        "security/authenticator/", "accounts/jobrun/", "nowhere/", "accounts/account/nobody/change/",
        "notices/noticesettings/1/change/", "notices/notice/",
    )),
    *(f"/api/{path}" for path in (
        "accounts", "dashboard/overview", "request-logs", "request-logs/options", "usage/summary",
        "api-keys/", "settings", "firewall/ips", "oauth/status", "schema/", "dashboard-auth/session",
        "nowhere", "codex/usage",
    )),
    "/metrics", "/health", "/health/ready", "/nowhere", "/v1/models", "/v1/usage", "/v1/nowhere",
    "/backend-api/codex/models", "/backend-api/wham/usage",
)  # fmt: skip
PASSWORD, LOOKING, WRONG = "a password of the operator", "a password of the viewer", "a password of nobody"
PASSPHRASE, VERIFIER = "a passphrase of the backup", "code_verifier"
METRICS, SETUP = "the-token-of-the-metrics", "the-token-of-the-set-up"


def stored(server: Server) -> bytes:
    """Every file of the install but the one that is the key, all tables, and the log."""
    files = [path for path in Path(server.data_dir).rglob("*") if path.is_file()]
    kept = [path.read_bytes() for path in files if path.name != "encryption.key"]
    if IS_POSTGRES:
        tables = server.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        rows = (server.query(f'SELECT t::text FROM "{name}" t') for (name,) in tables)
        kept += [str(row).encode() for of_one in rows for row in of_one]
    return b"\0".join([*kept, server.log.encode()])


def over_a_socket(server: Server, key: str) -> None:
    url = f"ws://127.0.0.1:{server.port}{RESPONSES}"
    with connect(url, additional_headers={"Authorization": f"Bearer {key}"}, proxy=None) as socket:
        socket.send(json.dumps({"type": "response.create", **turn()}))
        while json.loads(socket.recv(10))["type"] != "response.completed":
            pass


def add_accounts(server: Server, sim: Simulator) -> dict[str, str]:
    """Two people sign in, in a browser and with a device code."""
    sim.add_account("cat"), sim.add_account("dan")
    begun = in_json(server, "/api/oauth/start", forceMethod="browser")
    redirected = redirect_after(begun["authorizationUrl"], "cat")
    told = in_json(server, "/api/oauth/manual-callback", flowId=begun["flowId"], callbackUrl=redirected)
    assert told["status"] == "success", told
    device = in_json(server, "/api/oauth/start", forceMethod="device")
    sim.approve_device(device["userCode"], "dan")
    path = f"/api/oauth/status?flowId={device['flowId']}"
    until(lambda: send(server, "GET", path).json()["status"] == "success", 60, "the device is signed in")
    spent = [parse_qs(call.body.decode()) for call in sim.journal if is_exchange(call.body)]
    assert len(spent) == 2
    return {
        f"{name} of {n}": fields[name][0] for n, fields in enumerate(spent) for name in ("code", VERIFIER)
    }


def is_exchange(body: object) -> bool:
    return isinstance(body, bytes) and b"authorization_code" in body and VERIFIER.encode() in body


def in_json(server: Server, path: str, **fields: str) -> Any:
    answer = send(server, "POST", path, json.dumps(fields).encode(), JSON)
    assert answer.status == 200, answer.body
    return answer.json()


def make_keys(server: Server) -> dict[str, str]:
    """One on the page, and one over JSON that is renewed."""
    key_id, former = make_key(server)
    renewed = in_json(server, f"/api/api-keys/{key_id}/regenerate")["key"]
    page = "/admin/proxy/apikey/add/"
    token = signed_in(send(server, "GET", page))["codexproxy_csrf"]
    sent = {"Cookie": f"codexproxy_csrf={token}", "Content-Type": "application/x-www-form-urlencoded"}
    fields = key_form(name="on the page", csrfmiddlewaretoken=token)
    shown = send(server, "POST", page, urlencode(fields).encode(), sent)
    return {
        "former key": former,
        "renewed key": renewed,
        "key of the page": shown_key(shown.body.decode()),
        "csrf token": token,
    }


def export(server: Server, account_id: str) -> None:
    told = in_json(server, f"/api/accounts/{account_id}/export/auth")
    assert told["tokens"]["refreshToken"]


def back_up_and_rotate(server: Server, folder: Path) -> tuple[dict[str, str], bytes]:
    """What both have said, and the backup's file. The server has ended."""
    word, file, key_file = folder / "word", folder / "whole.backup", server.data_dir / "encryption.key"
    word.write_text(PASSPHRASE)
    secrets = {"passphrase": PASSPHRASE, "former encryption key": key_file.read_text().strip()}
    done = [server.manage("backup", str(file), "--passphrase-file", str(word))]
    assert server.stop() == 0
    done.append(server.manage("rotate_key", "--new"))
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    said = "".join(each.stdout + each.stderr for each in done)
    secrets["encryption key"] = key_file.read_text().strip()
    assert secrets["encryption key"] != secrets["former encryption key"]
    return secrets, file.read_bytes() + said.encode()


def enrolled(server: Server) -> tuple[Authenticator, list[str]]:
    phone = Authenticator(in_json(server, "/api/dashboard-auth/totp/setup/start")["secret"])
    told = in_json(server, "/api/dashboard-auth/totp/setup/confirm", secret=phone.secret, code=phone.code())
    return phone, told["recoveryCodes"]


def asked_in_every_way(server: Server, sim: Simulator, key: str) -> list[Answer]:
    authorised = {"Authorization": f"Bearer {key}"}
    ann, bob = sim.accounts["ann"], sim.accounts["bob"]
    answers = [ask(server, **authorised) for _ in range(3)]
    over_a_socket(server, key)
    # A token that is renewed, a sign-in that is lost, and refusals of every kind.
    ann.end_access()
    answers.append(ask(server, **authorised))
    bob.end_access()
    bob.script_refresh(RefreshRefused.expired())
    ann.script(Fail.unauthorized(), Fail.usage_limit(resets_in_seconds=60))
    answers += [ask(server, **authorised) for _ in range(3)]
    answers.append(ask(server, **{"Authorization": "Bearer sk-cp-wrong"}))
    answers.append(send(server, body=b"{", headers={**JSON, **authorised}))
    answers.append(send(server, "POST", "/api/accounts/import", b"{}", JSON))
    return answers


def posted(server: Server, path: str, *, cookies: str = "", **fields: str) -> Answer:
    headers = {**JSON, "Cookie": cookies} if cookies else JSON
    return send(server, "POST", f"/api/dashboard-auth/{path}", json.dumps(fields).encode(), headers)


def signed_in(answer: Answer) -> dict[str, str]:
    """The cookies of whoever has just signed in, by their names."""
    pairs = (value.split(";")[0] for name, value in answer.headers if name.lower() == "set-cookie")
    return dict(pair.split("=", 1) for pair in pairs)


def locked(server: Server, phone: Authenticator, secrets: dict[str, str]) -> tuple[str, list[Answer]]:
    """Lock the dashboard in every way and open it again; the cookies, and what was said to who may not."""
    cookies = signed_in(posted(server, "password/setup", password=PASSWORD))
    form = urlencode(
        {"new": LOOKING, "again": LOOKING, "csrfmiddlewaretoken": cookies["codexproxy_csrf"]}
    ).encode()
    sent = {"Cookie": _joined(cookies), "Content-Type": "application/x-www-form-urlencoded"}
    assert send(server, "POST", "/admin/security/viewer/", form, sent).status == 302
    on = json.dumps({"passwordRequiredOnLogin": True, "totpRequiredOnLogin": True}).encode()
    assert send(server, "PUT", "/api/settings", on, {**JSON, "Cookie": _joined(cookies)}).status == 200
    answers = [posted(server, "password/login", password=WRONG), send(server, "GET", "/api/accounts")]
    looking = signed_in(posted(server, "password/login", password=LOOKING))
    answers += [send(server, "GET", page, headers={"Cookie": _joined(looking)}) for page in PAGES]
    answers.append(posted(server, "totp/verify", cookies=_joined(cookies), code=phone.wrong_code()))
    opened = signed_in(posted(server, "totp/verify", cookies=_joined(cookies), code=phone.code()))
    secrets |= {"operator's password": PASSWORD, "viewer's password": LOOKING, "wrong password": WRONG}
    return _joined(cookies | opened), answers


def _joined(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def tell_notices(server: Server, web: WebReceiver) -> dict[str, str]:
    """By a webhook that is tried once with success and once without, and a mail server that is not there."""
    secrets = {"webhook_secret": "s3cret-of-the-webhook", "smtp_password": "s3cret-of-the-mail-server"}
    mail = {"email_on": True, "smtp_host": "127.0.0.1", "smtp_port": 9, "smtp_username": "proxy",
            "email_from": "a@example.com", "email_to": "b@example.com"}  # fmt: skip
    fields = {**mail, **secrets, "webhook_on": True, "webhook_url": web.url}
    web.answers = [204, 500]
    done = server.manage(
        "shell",
        "-c",
        "from accounts.notices.delivery import send_test\n"
        "from accounts.notices.services import notice_settings_update\n"
        f"notice_settings_update(**{fields!r})\n"
        "for channel in ('webhook', 'webhook', 'email'): print(send_test(channel).status)",
    )
    assert done.stdout.split()[-3:] == ["sent", "failed", "failed"], done.stdout + done.stderr
    return {**secrets, "webhook's address": web.url.rpartition("/")[2]}


@pytest.fixture
def web() -> Iterator[WebReceiver]:
    with web_receiver() as received:
        yield received


def test_no_secret_is_where_it_does_not_belong(
    sim: Simulator, serve: Start, web: WebReceiver, tmp_path: Path
) -> None:
    ann, _ = sim.add_account("ann"), sim.add_account("bob")
    server = serve(
        CODEXPROXY_METRICS_TOKEN=METRICS,
        CODEXPROXY_DASHBOARD_SETUP_TOKEN=SETUP,
        CODEXPROXY_CALLBACK_PORT=str(port_for_later()),
    )
    _, key = make_key(server, limits=[{"limitType": "requests", "limitWindow": "daily", "maxValue": 500}])
    secrets = {"API key": key, "metrics token": METRICS, "set-up token": SETUP, **tell_notices(server, web)}
    phone, recovery = enrolled(server)
    secrets |= {"TOTP secret": phone.secret, **{f"recovery code {code}": code for code in recovery}}
    secrets["access token before"] = ann.access_token
    answers = asked_in_every_way(server, sim, key)
    secrets |= make_keys(server) | add_accounts(server, sim)
    export(server, server.query("SELECT id FROM accounts_account WHERE email LIKE ?", "cat%")[0][0])
    for account in sim.accounts.values():
        for name in ("access_token", "refresh_token"):
            secrets[f"{account.id}'s {name}"] = getattr(account, name)
        secrets[f"{account.id}'s id token"] = account.id_token()
    until(lambda: server.query(f"SELECT count(*) FROM {RECORDS}")[0][0] >= 8, 20, "all is on record")
    cookies, told_to_others = locked(server, phone, secrets)
    answers += told_to_others
    answers += [send(server, "GET", page, headers={"x-api-key": key, "Cookie": cookies}) for page in PAGES]
    for account_id, record in server.query(
        f"SELECT a.id, r.id FROM accounts_account a, {RECORDS} r ORDER BY r.id DESC LIMIT 4"
    ):
        of_one = (f"accounts/account/{account_id}/change/", f"accounts/account/{account_id}/probe/",
                  f"accounts/account/{account_id}/export/", f"requestlogs/requestrecord/{record}/change/",
                  "proxy/apikey/1/change/")  # fmt: skip
        answers += [send(server, "GET", f"/admin/{page}", headers={"Cookie": cookies}) for page in of_one]
    answers.append(send(server, "GET", "/metrics", headers={"Authorization": f"Bearer {METRICS}"}))
    assert b"codexproxy_requests_total" in answers[-1].body
    answers.append(send(server, "GET", "/metrics", headers={"Authorization": "Bearer wrong"}))
    statuses = [answer.status for answer in answers]
    assert 500 not in statuses
    # Most of the pages were shown, to the viewer and to the operator.
    assert statuses.count(200) > 2 * (len(PAGES) - 8)

    secrets |= {f"spent refresh token {n}": token for n, token in enumerate(sim.spent_refresh_tokens)}
    made, written = back_up_and_rotate(server, tmp_path)
    secrets |= made
    everywhere = stored(server) + written
    told = b"\0".join(answer.body + repr(answer.headers).encode() for answer in answers)
    found = [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, content in (("files", everywhere), ("answers", told))
        if secret.encode() in content
    ]
    assert not found
    # The database knows a session by its cookie; nobody else does.
    session = dict(pair.split("=", 1) for pair in cookies.split("; "))["codexproxy_session"].encode()
    assert session not in server.log.encode() + written + told
