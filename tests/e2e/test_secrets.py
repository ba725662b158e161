"""After an install has been used in every way, no secret is anywhere but where it belongs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.sync.client import connect

from proxy.simulator import Fail, RefreshRefused, Simulator
from tests.accounts.notices.receivers import WebReceiver, web_receiver
from tests.e2e.asking import RESPONSES, Answer, ask, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import RECORDS, Server, until
from tests.e2e.test_keys import make_key
from tests.e2e.test_sign_in import Authenticator, enrol_over_json

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
METRICS, SETUP = "the-token-of-the-metrics", "the-token-of-the-set-up"


def stored(server: Server) -> bytes:
    """Every file of the install but the one that is the key, and its log."""
    files = [path for path in Path(server.data_dir).rglob("*") if path.is_file()]
    kept = (path.read_bytes() for path in files if path.name != "encryption.key")
    return b"\0".join([*kept, server.log.encode()])


def over_a_socket(server: Server, key: str) -> None:
    url = f"ws://127.0.0.1:{server.port}{RESPONSES}"
    with connect(url, additional_headers={"Authorization": f"Bearer {key}"}, proxy=None) as socket:
        socket.send(json.dumps({"type": "response.create", **turn()}))
        while json.loads(socket.recv(10))["type"] != "response.completed":
            pass


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


def test_no_secret_is_where_it_does_not_belong(sim: Simulator, serve: Start, web: WebReceiver) -> None:
    ann, bob = sim.add_account("ann"), sim.add_account("bob")
    server = serve(CODEXPROXY_METRICS_TOKEN=METRICS, CODEXPROXY_DASHBOARD_SETUP_TOKEN=SETUP)
    _, key = make_key(server, limits=[{"limitType": "requests", "limitWindow": "daily", "maxValue": 500}])
    secrets = {"API key": key, "metrics token": METRICS, "set-up token": SETUP, **tell_notices(server, web)}
    phone = enrol_over_json(server)
    secrets["TOTP secret"] = phone.secret
    authorised = {"Authorization": f"Bearer {key}"}

    answers: list[Answer] = [ask(server, **authorised) for _ in range(3)]
    over_a_socket(server, key)
    # A token that is renewed, a sign-in that is lost, and refusals of every kind.
    secrets["access token before"] = ann.access_token
    ann.end_access()
    answers.append(ask(server, **authorised))
    bob.end_access()
    bob.script_refresh(RefreshRefused.expired())
    ann.script(Fail.unauthorized(), Fail.usage_limit(resets_in_seconds=60))
    answers += [ask(server, **authorised) for _ in range(3)]
    answers.append(ask(server, **{"Authorization": "Bearer sk-cp-wrong"}))
    answers.append(send(server, body=b"{", headers={**JSON, **authorised}))
    answers.append(send(server, "POST", "/api/accounts/import", b"{}", JSON))
    for account in (ann, bob):
        for name in ("access_token", "refresh_token"):
            secrets[f"{account.id}'s {name}"] = getattr(account, name)
        secrets[f"{account.id}'s id token"] = account.id_token()
    until(lambda: server.query(f"SELECT count(*) FROM {RECORDS}")[0][0] >= 8, 20, "all is on record")
    cookies, told_to_others = locked(server, phone, secrets)
    answers += told_to_others
    answers += [send(server, "GET", page, headers={**authorised, "Cookie": cookies}) for page in PAGES]
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

    everywhere = stored(server)
    told = b"\0".join(answer.body + repr(answer.headers).encode() for answer in answers)
    found = [
        f"{name} in {place}"
        for name, secret in secrets.items()
        for place, content in (("files", everywhere), ("answers", told))
        if secret.encode() in content
    ]
    assert not found
    assert (server.data_dir / "encryption.key").read_bytes().strip() not in everywhere
