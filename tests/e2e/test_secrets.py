"""After an install has been used in every way, no secret is anywhere but where it belongs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect

from proxy.simulator import Fail, RefreshRefused, Simulator
from tests.accounts.notices.receivers import WebReceiver, web_receiver
from tests.e2e.asking import RESPONSES, Answer, ask, send, turn
from tests.e2e.conftest import Start
from tests.e2e.server import RECORDS, Server, until
from tests.e2e.test_keys import make_key
from tests.e2e.test_sign_in import enrol_over_json

JSON = {"Content-Type": "application/json"}
PAGES = (
    *(f"/admin/{page}" for page in (
        "", "accounts/account/", "requestlogs/requestrecord/", "accounts/auditevent/", "proxy/apikey/",
        "notices/noticesettings/1/change/", "notices/notice/",
        "errors/", "connect/", "security/", "accounts/jobrun/", "nowhere/",
    )),
    *(f"/api/{path}" for path in (
        "accounts", "dashboard/overview", "request-logs", "api-keys/", "settings", "dashboard-auth/session",
    )),
    "/metrics", "/health/ready", "/v1/models", "/v1/usage",
)  # fmt: skip


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
    server = serve()
    _, key = make_key(server)
    secrets = {"API key": key, **tell_notices(server, web)}
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
    answers += [send(server, "GET", page, headers=authorised) for page in PAGES]

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
