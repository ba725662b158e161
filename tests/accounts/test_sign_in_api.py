"""The JSON of sign-ins, and how browsers are kept apart."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from accounts import callback_listener
from accounts.models import Account, SignInFlow
from proxy.simulator import Simulator
from tests.accounts.signing_in import exchanges, redirect_after
from tests.builders import make_account
from tests.e2e.server import port_for_later

pytestmark = pytest.mark.django_db(transaction=True)

START, STATUS, COMPLETE, MANUAL = (
    f"/api/oauth/{name}" for name in ("start", "status", "complete", "manual-callback")
)


@pytest.fixture(autouse=True)
def listening(settings: Any) -> Iterator[None]:
    """A port of the test's own; at the end nobody is awaited and the listener closes."""
    settings.CALLBACK_PORT = port_for_later()
    callback_listener.shared.cache_clear()
    yield
    SignInFlow.objects.all().delete()
    callback_listener.shared().join(10)


class Forgetful(Client):
    """A client that never stores a cookie."""

    def request(self, **given: Any) -> Any:
        response = super().request(**given)
        self.cookies.clear()
        return response


def browser(kind: type[Client] = Client) -> Client:
    return kind(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost", HTTP_USER_AGENT="the same for all")


def post(client: Client, path: str, **fields: Any) -> Any:
    return client.post(path, json.dumps(fields), content_type="application/json")


def start(client: Client, method: str = "device", **fields: Any) -> dict[str, Any]:
    response = post(client, START, forceMethod=method, **fields)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def make_due() -> None:
    SignInFlow.objects.update(next_poll_at=timezone.now())


def status(client: Client, flow_id: str = "") -> dict[str, str]:
    make_due()
    answer: dict[str, str] = client.get(STATUS, {"flowId": flow_id} if flow_id else {}).json()
    return answer


def test_a_device_code_is_started(sim: Simulator, settings: Any) -> None:
    answer = start(browser())
    flow = SignInFlow.objects.get()
    assert answer == {
        "flowId": str(flow.pk),
        "method": "device",
        "verificationUrl": f"{settings.AUTH_BASE_URL}/codex/device",
        "userCode": flow.user_code,
        "deviceAuthId": flow.device_auth_id,
        "intervalSeconds": 1,
        "expiresInSeconds": 900,
    }


def test_a_browser_sign_in_is_started_and_heard(sim: Simulator, settings: Any) -> None:
    client = browser()
    answer = start(client, "browser")
    callback = f"http://localhost:{settings.CALLBACK_PORT}/auth/callback"
    assert set(answer) == {"flowId", "method", "authorizationUrl", "callbackUrl"}
    assert (answer["method"], answer["callbackUrl"]) == ("browser", callback)
    assert status(client) == {"status": "pending"}
    assert callback_listener.owner_of(("127.0.0.1", settings.CALLBACK_PORT))


def test_two_browsers_do_not_see_each_other(sim: Simulator) -> None:
    ann, bob = browser(), browser()
    hers, his = start(ann), start(bob)
    assert hers["userCode"] != his["userCode"]
    sim.approve_device(hers["userCode"], "ann")
    assert status(ann) == {"status": "success"}
    assert status(bob) == {"status": "pending"}
    sim.device_refusal = "access_denied"
    assert status(bob)["status"] == "error"
    assert status(ann) == {"status": "success"}
    assert status(bob, hers["flowId"])["status"] == "error"


def test_foreign_device_ids_change_nothing(sim: Simulator) -> None:
    ann, bob = browser(), browser()
    hers = start(ann)
    evil = {"deviceAuthId": "EVIL", "userCode": "EVIL"}
    assert post(bob, COMPLETE, **evil).json()["status"] in ("pending", "error")
    make_due()
    assert post(ann, COMPLETE, **evil).json() == {"status": "pending"}
    polled = [call.body for call in sim.journal if call.path.endswith("/deviceauth/token")]
    assert polled
    assert all(body["user_code"] == hers["userCode"] for body in polled)


def test_a_completion_without_a_device_code_is_told() -> None:
    told = {"status": "error", "errorMessage": "Device code flow is not initialized."}
    assert post(browser(), COMPLETE).json() == told


def test_an_expired_device_code_is_told(sim: Simulator) -> None:
    client = browser()
    start(client)
    SignInFlow.objects.update(expires_at=timezone.now())
    assert status(client) == {"status": "error", "errorMessage": "Device code expired."}


def test_a_client_that_keeps_no_cookies_gets_through(sim: Simulator) -> None:
    client = browser(Forgetful)
    started = start(client)
    assert post(client, COMPLETE).json() == {"status": "pending"}
    sim.approve_device(started["userCode"], "ann")
    assert status(client) == {"status": "success"}


def test_a_restart_ends_the_own_device_code_only(sim: Simulator) -> None:
    ann, bob = browser(), browser()
    first, his = start(ann), start(bob)
    second = start(ann)
    assert status(ann, first["flowId"])["status"] == "error"
    assert status(ann, second["flowId"]) == status(bob, his["flowId"]) == {"status": "pending"}


def test_the_address_may_be_pasted(sim: Simulator) -> None:
    client = browser()
    started = start(client, "browser")
    redirected = redirect_after(started["authorizationUrl"], "ann")
    assert post(client, MANUAL, callbackUrl=redirected, flowId=started["flowId"]).json() == {
        "status": "success"
    }
    # Once more: the same answer, and nothing is spent again.
    assert post(client, MANUAL, callbackUrl=redirected).json() == {"status": "success"}
    assert exchanges(sim) == 1
    assert Account.objects.get().email == "ann@example.com"


@pytest.mark.parametrize(
    "pasted", ["garbage", "", "http://localhost:1455/auth/callback?code=c&state=unknown"]
)
def test_a_bad_paste_is_told_and_the_flow_goes_on(sim: Simulator, pasted: str) -> None:
    client = browser()
    start(client, "browser")
    answer = post(client, MANUAL, callbackUrl=pasted).json()
    assert answer["status"] == "error"
    assert answer["errorMessage"]
    assert status(client) == {"status": "pending"}


def test_a_paste_in_another_browser_or_for_another_flow_is_refused(sim: Simulator) -> None:
    ann, bob = browser(), browser()
    hers, his = start(ann, "browser"), start(bob, "browser")
    status(ann), status(bob)
    redirected = redirect_after(hers["authorizationUrl"], "ann")
    assert "another browser" in post(bob, MANUAL, callbackUrl=redirected).json()["errorMessage"]
    assert post(ann, MANUAL, callbackUrl=redirected, flowId=his["flowId"]).json()["status"] == "error"
    assert exchanges(sim) == 0


def test_a_renewal_by_another_person_stores_nothing(sim: Simulator) -> None:
    client = browser()
    account = make_account("ann_00000001", chatgpt_account_id="ann", email="ann@example.com")
    started = start(client, "browser", accountId=account.pk)
    redirected = redirect_after(started["authorizationUrl"], "bob")
    answer = post(client, MANUAL, callbackUrl=redirected).json()
    assert answer["status"] == "error"
    assert "another person" in answer["errorMessage"]
    account.refresh_from_db()
    assert account.credential.refresh_token == "refresh-1-of-ann_00000001"


def test_with_an_account_there_is_nothing_to_do_unless_a_method_is_named(sim: Simulator) -> None:
    client = browser()
    assert post(client, START).json()["method"] == "browser"
    assert status(client) == {"status": "pending"}
    account = make_account()
    assert set(post(client, START).json()) == {"flowId", "method"}
    assert status(client) == {"status": "success"}
    assert "authorizationUrl" in post(client, START, accountId=account.pk).json()


def test_idle_is_pending() -> None:
    assert status(browser()) == {"status": "pending"}
    assert status(browser(), str(uuid4()))["status"] == "error"


def test_a_bound_port_leaves_the_paste_or_leads_to_a_device_code(sim: Simulator, settings: Any) -> None:
    with socket.create_server(("127.0.0.1", settings.CALLBACK_PORT)) as taken:
        # It answers at once, so that nobody waits for it.
        taken.listen(0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(callback_listener, "PROBE_TIMEOUT_S", 0.1)
            client = browser()
            answer = start(client, "browser")
            assert "used by another program" in answer["notice"]
            redirected = redirect_after(answer["authorizationUrl"], "ann")
            assert post(client, MANUAL, callbackUrl=redirected).json() == {"status": "success"}
            Account.objects.all().delete()
            assert post(client, START).json()["method"] == "device"


def test_a_service_that_refuses_or_is_away_is_told(sim: Simulator, settings: Any) -> None:
    sim.device_code_status = 404
    response = post(browser(), START, forceMethod="device")
    assert (response.status_code, response.json()["error"]["code"]) == (502, "device_auth_unavailable")
    settings.AUTH_BASE_URL = "http://127.0.0.1:9"
    response = post(browser(), START, forceMethod="device")
    assert (response.status_code, response.json()["error"]["code"]) == (502, "auth_unreachable")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (START, {"forceMethod": "carrier pigeon"}),
        (START, {"forceMethod": 7}),
        (START, {"accountId": ["a"]}),
        (START, {"accountId": "a\x00"}),
        (COMPLETE, {"flowId": "not an id"}),
        (MANUAL, {}),
        (MANUAL, {"callbackUrl": 7}),
    ],
)
def test_what_cannot_be_read_is_refused(path: str, fields: dict[str, Any]) -> None:
    response = post(browser(), path, **fields)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "validation_error")
    assert browser().post(path, "[]", content_type="application/json").status_code == 422


def test_an_unknown_account_is_told() -> None:
    response = post(browser(), START, forceMethod="browser", accountId="nobody")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "account_not_found")
