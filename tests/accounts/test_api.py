"""The dashboard's JSON for accounts, and how it tells errors."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import Http404
from django.test import Client
from django.urls import include, path
from django.utils import timezone
from rest_framework import exceptions
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import services, tokens
from accounts.models import Account
from codexproxy.errors import DashboardError
from tests.builders import make_account, make_auth_json

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

to_raise: list[Exception] = []


@api_view(["GET"])
def failing(request: Request) -> Response:
    raise to_raise.pop()


urlpatterns = [path("api/failing", failing), path("api/", include("accounts.urls"))]


@pytest.fixture(autouse=True)
def no_middleware(settings: Any) -> None:
    settings.MIDDLEWARE = []


def post_file(content: bytes, name: str = "auth_json") -> Any:
    return Client().post("/api/accounts/import", {name: SimpleUploadedFile("auth.json", content)})


def error(response: Any) -> tuple[int, str, str]:
    told = response.json()["error"]
    assert set(told) == {"code", "message"}
    return response.status_code, told["code"], told["message"]


def test_a_file_is_imported() -> None:
    response = post_file(json.dumps(make_auth_json()).encode())
    assert response.status_code == 200
    assert response.json() == {
        "accountId": "acc-1_71d4f55f",
        "email": "ann@example.com",
        "workspaceId": None,
        "workspaceLabel": None,
        "planType": "plus",
        "status": "active",
    }
    assert Account.objects.get().pk == "acc-1_71d4f55f"


def test_a_second_import_keeps_the_account_paused() -> None:
    content = json.dumps(make_auth_json()).encode()
    account_id = post_file(content).json()["accountId"]
    Client().post(f"/api/accounts/{account_id}/pause")
    assert post_file(content).json()["status"] == "paused"
    assert Account.objects.count() == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "auth.json is empty"),
        (b"\xff\xfe\x00", "auth.json is not text"),
        (b"[]", "auth.json must be a JSON object"),
        (b"{}", "auth.json has no tokens"),
        (b'{"tokens":{}}', "auth.json has no tokens.id_token"),
    ],
)
def test_bad_input_is_told_and_nothing_is_stored(content: bytes, message: str) -> None:
    assert error(post_file(content)) == (400, "invalid_auth_json", message)
    assert not Account.objects.exists()


def test_a_missing_file_is_a_validation_error() -> None:
    expected = (422, "validation_error", "Invalid request payload")
    client = Client()
    assert error(post_file(b"{}", name="other")) == expected
    assert error(client.post("/api/accounts/import", {"auth_json": "{}"})) == expected
    assert error(client.post("/api/accounts/import", {}, content_type="application/json")) == expected
    assert error(client.post("/api/accounts/import", "{", content_type="application/json")) == expected


def test_a_file_over_one_mebibyte_is_too_large() -> None:
    padding = b" " * (1024 * 1024)
    assert error(post_file(b"{}" + padding))[:2] == (413, "payload_too_large")
    assert error(post_file(b"{}" + 3 * padding))[:2] == (413, "payload_too_large")
    assert error(post_file(padding[:-2] + b"{}"))[:2] == (400, "invalid_auth_json")


@pytest.mark.parametrize("internal", [RuntimeError("secret"), ValueError("secret"), KeyError("secret")])
def test_an_internal_failure_is_not_the_clients_mistake(
    internal: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**given: Any) -> None:
        raise internal

    monkeypatch.setattr(services, "account_import", broken)
    response = post_file(json.dumps(make_auth_json()).encode())
    assert error(response) == (500, "internal_error", "Unexpected error")
    assert any(record.exc_info and record.exc_info[1] is internal for record in caplog.records)


def test_an_account_is_paused_reactivated_and_deleted() -> None:
    account, client = make_account(), Client()
    for verb, told, status in (
        ("pause", "paused", "paused"),
        ("reactivate", "reactivated", "active"),
    ):
        response = client.post(f"/api/accounts/{account.pk}/{verb}")
        assert (response.status_code, response.json()) == (200, {"status": told})
        assert Account.objects.get().status == status
    response = client.delete(f"/api/accounts/{account.pk}")
    assert (response.status_code, response.json()) == (200, {"status": "deleted"})
    assert not Account.objects.exists()


def test_an_unknown_account_is_404() -> None:
    client = Client()
    expected = (404, "account_not_found", "Account not found")
    assert error(client.post("/api/accounts/nobody/pause")) == expected
    assert error(client.post("/api/accounts/nobody/reactivate")) == expected
    assert error(client.delete("/api/accounts/nobody")) == expected


@pytest.mark.parametrize("verb", ["pause", "reactivate"])
def test_an_account_that_needs_a_sign_in_is_409(verb: str) -> None:
    account = make_account(status=Account.Status.REAUTH_REQUIRED)
    response = Client().post(f"/api/accounts/{account.pk}/{verb}")
    assert error(response)[:2] == (409, "account_state_transition_invalid")
    assert Account.objects.get().status == Account.Status.REAUTH_REQUIRED


def test_a_wrong_method_names_the_right_ones() -> None:
    response = Client().get("/api/accounts/import")
    assert error(response) == (405, "http_405", "Method Not Allowed")
    assert "POST" in response["Allow"]


class Told(exceptions.APIException):
    status_code = 409
    headers = {"X-Own": "kept"}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (Http404(), (404, "http_404", "Not Found")),
        (exceptions.NotFound(), (404, "http_404", "Not Found")),
        (exceptions.NotFound("No such thing"), (404, "http_404", "No such thing")),
        (PermissionDenied(), (403, "http_403", "Forbidden")),
        (SuspiciousOperation(), (400, "http_400", "Bad Request")),
        (RequestDataTooBig(), (413, "http_413", "Request Entity Too Large")),
        (exceptions.ValidationError({"a": ["no"]}), (422, "validation_error", "Invalid request payload")),
        (Told(" trimmed "), (409, "http_409", "trimmed")),
        (Told({"message": "x"}), (409, "http_409", "x")),  # type: ignore[arg-type]
        (Told({"error": "y"}), (409, "http_409", "y")),  # type: ignore[arg-type]
        (Told({"other": "z"}), (409, "http_409", "Request failed")),  # type: ignore[arg-type]
        (Told(["a", "b"]), (409, "http_409", "Request failed")),  # type: ignore[arg-type]
        (DashboardError(400, "invalid_ip", "No address"), (400, "invalid_ip", "No address")),
    ],
)
def test_every_error_has_one_shape(raised: Exception, expected: tuple[int, str, str]) -> None:
    to_raise.append(raised)
    assert error(Client().get("/api/failing")) == expected


def test_headers_of_an_error_are_kept() -> None:
    for raised, name, value in (
        (exceptions.Throttled(wait=7), "Retry-After", "7"),
        (Told("x"), "X-Own", "kept"),
        (DashboardError(429, "slow_down", "x", {"Retry-After": "9"}), "Retry-After", "9"),
    ):
        to_raise.append(raised)
        assert Client().get("/api/failing")[name] == value
    challenge: Any = Told("x")
    challenge.auth_header = "Bearer"
    to_raise.append(challenge)
    assert Client().get("/api/failing")["WWW-Authenticate"] == "Bearer"


def put(account_id: str, what: str, payload: Any) -> Any:
    path = f"/api/accounts/{account_id}/{what}"
    return Client().put(path, json.dumps(payload), content_type="application/json")


def test_an_alias_is_set_and_taken_off() -> None:
    account = make_account()
    assert put(account.pk, "alias", {"alias": " Work "}).json()["alias"] == "Work"
    assert put(account.pk, "alias", {"alias": None}).json()["alias"] is None


def test_the_routing_changes_only_in_what_is_named() -> None:
    account = make_account()
    put(account.pk, "routing-policy", {"stopAtPercent": 80})
    answer = put(account.pk, "routing-policy", {"routingPolicy": "burn_first"})
    assert answer.json() == {"accountId": account.pk, "routingPolicy": "burn_first", "stopAtPercent": 80}


@pytest.mark.parametrize(
    ("what", "payload", "words"),
    [
        ("alias", {"alias": 1}, "alias must be a text"),
        ("alias", {"alias": "x" * 81}, "at most 80 characters"),
        ("alias", ["alias"], "JSON object"),
        ("routing-policy", {"routingPolicy": "sometimes"}, "not a valid choice"),
        ("routing-policy", {"routingPolicy": None}, "cannot be null"),
        ("routing-policy", {"stopAtPercent": 101}, "less than or equal to 100"),
        ("routing-policy", {"stopAtPercent": "many"}, "whole number"),
        ("routing-policy", {"stopAtPercent": True}, "whole number"),
    ],
)
def test_what_an_account_cannot_have_is_refused_in_words(what: str, payload: Any, words: str) -> None:
    status, code, message = error(put(make_account().pk, what, payload))
    assert (status, code) == (422, "validation_error")
    assert words in message


@pytest.mark.parametrize("what", ["alias", "routing-policy"])
def test_an_account_that_is_not_there_cannot_be_changed(what: str) -> None:
    assert error(put("nobody", what, {}))[:2] == (404, "account_not_found")


def test_an_export_has_both_shapes_and_is_never_cached() -> None:
    account = make_account(access_expires_at=timezone.now() + timedelta(days=1), refreshed_at=timezone.now())
    answer = Client().post(f"/api/accounts/{account.pk}/export/auth")
    assert answer.headers["Cache-Control"] == "no-store"
    exported = answer.json()
    assert exported["codexAuthJson"]["tokens"]["refresh_token"] == exported["tokens"]["refreshToken"]
    assert exported["opencodeAuthJson"]["openai"]["expires"] == exported["tokens"]["expiresAtMs"]
    assert Client().get(f"/api/accounts/{account.pk}/export/auth").status_code == 405
    assert error(Client().post("/api/accounts/nobody/export/auth"))[:2] == (404, "account_not_found")


def test_an_export_without_an_id_token_has_no_file_for_codex(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*, account_id: str) -> None:
        raise tokens.RefreshFailed("not now")

    monkeypatch.setattr(tokens, "refresh_now", unreachable)
    exported = Client().post(f"/api/accounts/{make_account(id_token='').pk}/export/auth").json()
    assert exported["codexAuthJson"] is None
    assert exported["opencodeAuthJson"]["openai"]["type"] == "oauth"
