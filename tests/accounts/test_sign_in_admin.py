"""The page Add account and the pages of a flow."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from accounts import callback_listener
from accounts.claims import AUTH_CLAIM
from accounts.models import Account, SignInFlow
from proxy.simulator import RefreshRefused, Simulator
from tests.accounts.signing_in import exchanges, redirect_after
from tests.builders import make_account, make_auth_json, make_jwt
from tests.e2e.server import port_for_later

LIST = "/admin/accounts/account/"
ADD = f"{LIST}add/"
BROWSER, DEVICE = f"{LIST}sign-in/browser/", f"{LIST}sign-in/device/"

pytestmark = pytest.mark.django_db(transaction=True)

Status = SignInFlow.Status


@pytest.fixture(autouse=True)
def listening(settings: Any) -> Iterator[None]:
    settings.CALLBACK_PORT = port_for_later()
    callback_listener.shared.cache_clear()
    yield
    SignInFlow.objects.all().delete()
    callback_listener.shared().join(10)


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def page_of(response: Any) -> str:
    assert response.status_code == 200, response
    return re.sub(r"\s+", " ", response.content.decode())


def begin(browser: Client, path: str, **fields: Any) -> tuple[str, SignInFlow]:
    """The address of the flow's page, and the flow."""
    response = browser.post(path, fields)
    assert response.status_code == 302, response.content
    return response.headers["Location"], SignInFlow.objects.latest("created_at")


def files(sim: Simulator, *names: str) -> list[SimpleUploadedFile]:
    return [
        SimpleUploadedFile("auth.json", json.dumps(sim.accounts[name].auth_json()).encode()) for name in names
    ]


def make_due() -> None:
    SignInFlow.objects.update(next_poll_at=timezone.now())


def test_the_page_has_three_ways(browser: Client) -> None:
    page = page_of(browser.get(ADD))
    for words in ("Browser sign-in", "Device code", "Import auth.json", "Do not go on using"):
        assert words in page
    assert "comes back to port" in page


def test_the_page_says_beforehand_that_an_address_has_to_be_pasted(settings: Any) -> None:
    from ipaddress import ip_network

    settings.DASHBOARD_NETWORKS = (ip_network("192.0.2.0/24"),)
    remote = Client(REMOTE_ADDR="192.0.2.7", HTTP_HOST="192.0.2.1")
    assert "copy its address and paste it here" in page_of(remote.get(ADD))


def test_a_browser_sign_in_goes_through_by_pasting(browser: Client, sim: Simulator) -> None:
    address, flow = begin(browser, BROWSER)
    page = page_of(browser.get(address))
    assert "Open the sign-in page" in page and 'hx-trigger="every 3s"' in page
    redirected = redirect_after(flow.authorization_url, "ann")
    page = page_of(browser.post(f"{address}paste/", {"address": redirected}, follow=True))
    assert "Added:" in page and "ann@example.com" in page
    assert "Connect a client" in page and "Add another account" in page


def test_the_waiting_line_counts_down_and_then_leads_on(browser: Client, sim: Simulator) -> None:
    address, flow = begin(browser, BROWSER)
    assert re.search(r"expires in .*1[45]:\d\d", page_of(browser.get(f"{address}state/")))
    browser.post(f"{address}paste/", {"address": redirect_after(flow.authorization_url, "ann")})
    assert browser.get(f"{address}state/").headers["HX-Redirect"] == address


def test_a_bad_address_is_told_beside_the_field(browser: Client, sim: Simulator) -> None:
    address, flow = begin(browser, BROWSER)
    assert "should contain" in page_of(browser.post(f"{address}paste/", {"address": "garbage"}))
    assert "Paste the address" in page_of(browser.post(f"{address}paste/", {"address": ""}))
    xss = "http://localhost/auth/callback?state=<script>alert(1)</script>&code=c"
    page = page_of(browser.post(f"{address}paste/", {"address": xss}))
    assert "<script>alert" not in page and "not known here" in page
    flow.refresh_from_db()
    assert flow.status == Status.PENDING


def test_what_the_service_says_stays_text(browser: Client, sim: Simulator) -> None:
    address, flow = begin(browser, BROWSER)
    state = redirect_after(flow.authorization_url, "ann").partition("state=")[2].partition("&")[0]
    pasted = f"http://localhost/auth/callback?state={state}&error=x&error_description=%3Cscript%3Ealert(1)"
    page = page_of(browser.post(f"{address}paste/", {"address": pasted}, follow=True))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page and "Start again" in page
    assert exchanges(sim) == 0


def test_a_bound_port_is_told_and_the_paste_still_works(
    browser: Client, sim: Simulator, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_listener, "PROBE_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", settings.CALLBACK_PORT)):
        address, flow = begin(browser, BROWSER)
        assert f"Port {settings.CALLBACK_PORT} is used by another program" in page_of(browser.get(address))
        redirected = redirect_after(flow.authorization_url, "ann")
        browser.post(f"{address}paste/", {"address": redirected})
    assert Account.objects.get().email == "ann@example.com"


def test_a_device_code_is_shown_and_then_the_account(browser: Client, sim: Simulator, settings: Any) -> None:
    address, flow = begin(browser, DEVICE)
    page = page_of(browser.get(address))
    assert flow.user_code in page and f"{settings.AUTH_BASE_URL}/codex/device" in page
    sim.approve_device(flow.user_code, "bob")
    make_due()
    assert "HX-Redirect" in browser.get(f"{address}state/").headers
    assert "bob@example.com" in page_of(browser.get(address))


def test_a_service_without_device_codes_leads_back_to_the_page(browser: Client, sim: Simulator) -> None:
    sim.device_code_status = 404
    response = browser.post(DEVICE, follow=True)
    assert response.redirect_chain == [(ADD, 302)]
    assert "Use the browser sign-in." in page_of(response)


def test_a_flow_is_shown_to_its_browser_only(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, BROWSER)
    other = Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    browser.get(address)
    assert other.get(address).headers["Location"] == ADD
    for step in ("paste", "confirm", "store", "cancel"):
        assert other.post(f"{address}{step}/", {"as": "own"}).headers["Location"] == ADD
    assert "was started in another browser, or is long over" in page_of(other.get(address, follow=True))
    # The line that a waiting page reads anew takes the page there.
    polled = other.get(f"{address}state/", headers={"HX-Request": "true"})
    assert polled.headers["HX-Redirect"] == ADD and not polled.content


def test_an_account_is_renewed_on_the_same_page(browser: Client, sim: Simulator) -> None:
    account = make_account(
        "ann_00000001", chatgpt_account_id="ann", email="ann@example.com", status="reauth_required"
    )
    page = page_of(browser.get(f"{ADD}?account={account.pk}"))
    assert page.count(f'name="account" value="{account.pk}"') == 3
    assert "Sign in as <strong>ann@example.com</strong>" in page
    address, flow = begin(browser, BROWSER, account=account.pk)
    redirected = redirect_after(flow.authorization_url, "ann")
    page = page_of(browser.post(f"{address}paste/", {"address": redirected}, follow=True))
    assert "Signed in again:" in page
    account.refresh_from_db()
    assert account.status == "active"


def test_somebody_elses_sign_in_asks_first(browser: Client, sim: Simulator) -> None:
    account = make_account("ann_00000001", chatgpt_account_id="ann", email="ann@example.com")
    address, flow = begin(browser, BROWSER, account=account.pk)
    redirected = redirect_after(flow.authorization_url, "bob")
    page = page_of(browser.post(f"{address}paste/", {"address": redirected}, follow=True))
    assert "bob@example.com, not ann@example.com" in page and "Nothing was stored" in page
    assert "Let it take the place" in page
    assert browser.post(f"{address}confirm/", {"as": "anything"}).status_code == 404
    page = page_of(browser.post(f"{address}confirm/", {"as": "own"}, follow=True))
    assert "Added:" in page
    assert Account.objects.count() == 2


def test_an_unknown_account_cannot_be_renewed(browser: Client) -> None:
    for response in (
        browser.get(f"{ADD}?account=nobody", follow=True),
        browser.post(BROWSER, {"account": "nobody"}, follow=True),
    ):
        assert response.redirect_chain == [(ADD, 302)]
        assert "That account is not there any more." in page_of(response)


def test_a_flow_can_be_cancelled(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, BROWSER)
    assert browser.post(f"{address}cancel/").headers["Location"] == ADD
    assert "Cancelled." in page_of(browser.get(address))


def test_files_are_previewed_and_then_stored(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, ADD, uploads=files(sim, "ann", "bob"))
    page = page_of(browser.get(address))
    for words in ("ann@example.com", "bob@example.com", "plus", "pro", "A new account", "spends it"):
        assert words in page
    assert not Account.objects.exists()
    assert sim.refreshes == []
    page = page_of(browser.post(f"{address}store/", follow=True))
    assert page.count("stored, and its refresh token works (new)") == 2
    assert Account.objects.count() == 2
    # Once more stores nothing again.
    browser.post(f"{address}store/")
    assert len(sim.refreshes) == 2


def test_a_preview_tells_two_workspaces_of_one_name_apart(browser: Client) -> None:
    def file(workspace: str) -> SimpleUploadedFile:
        auth = {"chatgpt_account_id": workspace, "workspace_id": workspace, "workspace_name": "Laboratory"}
        id_token = make_jwt({"email": "ann@example.com", AUTH_CLAIM: auth})
        tokens = {"id_token": id_token, "refresh_token": f"rt-{workspace}"}
        content = make_auth_json(account_id=workspace, tokens=tokens)
        return SimpleUploadedFile("auth.json", json.dumps(content).encode())

    address, _ = begin(browser, ADD, uploads=[file("ws-1"), file("ws-2")])
    page = page_of(browser.get(address))
    assert "Laboratory (ws-1)" in page and "Laboratory (ws-2)" in page


def test_a_preview_shows_no_token(browser: Client, sim: Simulator) -> None:
    tokens = sim.accounts["ann"].auth_json()["tokens"]
    address, _ = begin(browser, ADD, uploads=files(sim, "ann"))
    pages = page_of(browser.get(address)) + page_of(browser.post(f"{address}store/", follow=True))
    assert not any(tokens[name] in pages for name in ("id_token", "access_token", "refresh_token"))
    assert SignInFlow.objects.get().payload == ""


def test_several_sign_ins_may_be_pasted(browser: Client, sim: Simulator) -> None:
    pasted = "\n".join(json.dumps(sim.accounts[name].auth_json(), indent=1) for name in ("ann", "bob", "ann"))
    address, _ = begin(browser, ADD, pasted=pasted)
    browser.post(f"{address}store/")
    assert Account.objects.count() == 2
    assert sim.violations == []


def test_a_known_account_is_named_and_an_older_file_too(browser: Client, sim: Simulator) -> None:
    first, _ = begin(browser, ADD, uploads=files(sim, "ann"))
    old = json.dumps(sim.accounts["ann"].auth_json())
    browser.post(f"{first}store/")
    Account.objects.update(alias="Work")
    newer, _ = begin(browser, ADD, uploads=files(sim, "ann"))
    assert "Updates Work" in page_of(browser.get(newer))
    older, _ = begin(browser, ADD, pasted=old)
    assert "Work has a newer sign-in" in page_of(browser.get(older))
    assert "not stored" in page_of(browser.post(f"{older}store/", follow=True))


def two_of_ann(sim: Simulator) -> list[SimpleUploadedFile]:
    """An older file of hers, with a token of that time, and her present one."""
    content = sim.accounts["ann"].auth_json()
    older = content | {
        "tokens": content["tokens"] | {"refresh_token": "rt-of-last-year"},
        "last_refresh": "2025-01-01T00:00:00Z",
    }
    return [SimpleUploadedFile("old.json", json.dumps(older).encode()), *files(sim, "ann")]


def test_of_two_files_of_one_account_only_the_newer_is_tried(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, ADD, uploads=two_of_ann(sim))
    page = page_of(browser.get(address))
    assert page.count("A new account") == 1
    assert page.count("another one of these files is of the same account, and newer") == 1
    page = page_of(browser.post(f"{address}store/", follow=True))
    assert "stored, and its refresh token works (new)" in page
    assert "not stored. Another one of these files is of the same account, and newer." in page
    assert [call.status for call in sim.refreshes] == [200]


def test_when_the_newer_file_is_refused_the_older_one_is_tried(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, ADD, uploads=two_of_ann(sim))
    sim.accounts["ann"].script_refresh(RefreshRefused.reused())
    browser.post(f"{address}store/")
    assert len(sim.refreshes) == 2


def test_one_refused_file_stops_no_other(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, ADD, uploads=files(sim, "ann", "bob"))
    sim.accounts["ann"].script_refresh(RefreshRefused.reused())
    page = page_of(browser.post(f"{address}store/", follow=True))
    assert "already used" in page
    assert Account.objects.get().email == "bob@example.com"


def test_without_the_service_all_are_stored_and_marked(
    browser: Client, sim: Simulator, settings: Any
) -> None:
    address, _ = begin(browser, ADD, uploads=files(sim, "ann", "bob"))
    settings.AUTH_BASE_URL = "http://127.0.0.1:9"
    page = page_of(browser.post(f"{address}store/", follow=True))
    assert page.count("stored, but not verified (new). The sign-in service cannot be reached") == 2
    assert Account.objects.count() == 2


def test_a_file_of_somebody_else_does_not_renew_the_account(browser: Client, sim: Simulator) -> None:
    account = make_account("ann_00000001", chatgpt_account_id="ann", email="ann@example.com")
    address, _ = begin(browser, ADD, uploads=files(sim, "bob"), account=account.pk)
    assert "another person" in page_of(browser.get(address))
    browser.post(f"{address}store/")
    account.refresh_from_db()
    assert account.credential.refresh_token == "refresh-1-of-ann_00000001"


def test_a_preview_does_not_wait_for_ever(browser: Client, sim: Simulator) -> None:
    address, _ = begin(browser, ADD, uploads=files(sim, "ann"))
    SignInFlow.objects.update(expires_at=timezone.now())
    page = page_of(browser.post(f"{address}store/", follow=True))
    assert "not confirmed within 15 minutes" in page
    assert not Account.objects.exists()


def test_a_bad_file_is_named_beside_the_field_and_nothing_is_kept(browser: Client, sim: Simulator) -> None:
    bad = [
        SimpleUploadedFile("bad.json", b'{"tokens": {}}'),
        SimpleUploadedFile("empty.json", b""),
        SimpleUploadedFile("picture.png", b"\x89PNG\xff\xfe\x00"),
        SimpleUploadedFile("large.json", b" " * (1024 * 1024 + 1)),
    ]
    page = page_of(browser.post(ADD, {"uploads": [*files(sim, "ann"), *bad]}))
    assert "bad.json: auth.json has no tokens.id_token" in page
    assert "empty.json: auth.json is empty" in page
    assert "picture.png: auth.json is not text" in page
    assert "large.json: is too large to be an auth.json" in page
    assert not SignInFlow.objects.exists()


def test_bad_pasted_text_is_refused_beside_the_field(browser: Client) -> None:
    page = page_of(browser.post(ADD, {"pasted": "not json"}))
    assert "auth.json is not valid JSON" in page


def test_an_empty_form_says_what_to_do(browser: Client) -> None:
    assert "Choose a file or paste its content." in page_of(browser.post(ADD, {}))


def test_too_many_files_are_refused(browser: Client) -> None:
    documents = [
        json.dumps({"tokens": {"id_token": "a", "access_token": "b", "refresh_token": f"r{number}"}})
        for number in range(51)
    ]
    assert "at most 50 files" in page_of(browser.post(ADD, {"pasted": "\n".join(documents)}))


def test_a_refused_form_does_not_send_the_pasted_tokens_back(browser: Client) -> None:
    content = json.dumps({"tokens": {"id_token": "secret-id", "access_token": "secret-access"}})
    assert "secret-access" not in page_of(browser.post(ADD, {"pasted": content}))
