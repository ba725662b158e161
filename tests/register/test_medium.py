"""The review's items of medium severity."""

from __future__ import annotations

import gc
import json
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError, connections
from rest_framework import exceptions

from accounts import services
from accounts.models import Account
from codexproxy import asgi
from codexproxy.errors import DashboardError
from codexproxy.logging import request_id
from proxy import runtime as runtimes
from proxy.simulator import RefreshRefused, Simulator, running
from requestlogs.models import RequestRecord
from tests.accounts.test_api import to_raise
from tests.builders import make_account, make_auth_json
from tests.codexproxy.browsing import browser
from tests.e2e.server import Server, until
from tests.register.pool import CHAT, Pool, stream, text

# --- M1: a request's id ends with the request -----------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/settings", "/api/nowhere"])
def test_m1_an_id_is_told_and_then_forgotten(path: str) -> None:
    given = {"x-request-id": "rid-1", "request-id": "rid-2"}
    assert browser().get(path, headers=given).headers["x-request-id"] == "rid-1"
    assert request_id.get() == "-"
    assert browser().get(path, headers={"request-id": "rid-2"}).headers["x-request-id"] == "rid-2"
    own = {browser().get(path).headers["x-request-id"] for _ in range(2)}
    assert len(own) == 2 and not own & {"rid-1", "rid-2"}


def test_m1_a_stream_keeps_its_id_to_the_end(pool: Pool) -> None:
    member = pool.account()
    for given in ("rid-first", "rid-second"):
        assert member.respond_with({"x-request-id": given}, stream=True).status == 200
        until(lambda given=given: member.record("request_id") == given, 10, "its record has its id")


def test_m1_a_failure_that_upstream_gave_no_id_has_the_request_s(pool: Pool) -> None:
    member = pool.account(stream(text("hi")), stream(text("hi")))
    for given in ("rid-failed", "rid-failed-too"):
        failed = member.respond_with({"x-request-id": given}, stream=True).events[-1]
        assert (failed["type"], failed["response"]["id"]) == ("response.failed", given)


def test_m1_a_line_of_the_log_names_its_own_request(pool: Pool) -> None:
    members = {"rid-one": pool.unrefreshed(), "rid-other": pool.unrefreshed()}
    for member in members.values():
        member.account.end_access()
        member.account.script_refresh(RefreshRefused.server_error())
    with ThreadPoolExecutor(2) as clients:
        # Both at once, so that one could take the other's.
        told = [
            clients.submit(member.respond_with, {"x-request-id": given}, stream=True)
            for given, member in members.items()
        ]
        assert [each.result().status for each in told] == [401, 401]
    for given, member in members.items():
        (line,) = (line for line in pool.server.log.splitlines() if f"account {member.id}: the token" in line)
        assert f" [{given}] " in line


# --- M2: what an error carries is kept ------------------------------------------------------------


@pytest.mark.django_db
def test_m2_the_dashboard_s_errors_keep_their_headers_and_words() -> None:
    refused = browser().post("/api/settings")
    assert (refused.status_code, {"GET", "PUT"} <= set(refused.headers["Allow"].split(", "))) == (405, True)
    assert refused.json() == {"error": {"code": "http_405", "message": "Method Not Allowed"}}
    unknown = browser().get("/api/nope")
    assert unknown.status_code == 404
    assert unknown.json() == {"error": {"code": "http_404", "message": "Not Found"}}


def test_m2_the_clients_errors_keep_their_headers_and_words(pool: Pool) -> None:
    refused = pool.send("GET", CHAT)
    assert (refused.status, refused.header("Allow")) == (405, "POST")
    assert (refused.error["type"], refused.error["code"]) == ("invalid_request_error",) * 2
    unknown = pool.send("GET", "/v1/nope")
    assert (unknown.status, unknown.error["code"]) == (404, "not_found")
    assert unknown.error["type"] == "invalid_request_error"


@pytest.mark.django_db
@pytest.mark.urls("tests.accounts.test_api")
@pytest.mark.parametrize(
    ("raised", "message", "header"),
    [
        (exceptions.Throttled(wait=7), None, ("Retry-After", "7")),
        (DashboardError(429, "slow_down", "x", {"Retry-After": "9"}), "x", ("Retry-After", "9")),
        (exceptions.APIException({"message": "x"}), "x", None),  # type: ignore[arg-type]
        (exceptions.APIException({"error": "y"}), "y", None),  # type: ignore[arg-type]
        (exceptions.APIException(" trimmed "), "trimmed", None),
        (exceptions.APIException(["a"]), "Request failed", None),  # type: ignore[arg-type]
    ],
)
def test_m2_what_a_view_raises_keeps_its_words_and_headers(
    raised: Exception, message: str | None, header: tuple[str, str] | None
) -> None:
    to_raise.append(raised)
    answer = browser().get("/api/failing")
    assert message in (None, answer.json()["error"]["message"])
    assert header is None or answer.headers[header[0]] == header[1]


def test_m2_a_wrong_key_is_told_as_openai_tells_it(pool: Pool) -> None:
    # From an address that has not shown keys before they were known here: so many wrong ones are held up.
    answer = pool.send("GET", "/v1/models", source="127.0.0.2", Authorization="Bearer sk-cp-wrong")
    assert (answer.status, answer.error["type"]) == (401, "authentication_error")
    assert (answer.error["code"], answer.header("WWW-Authenticate")) == ("invalid_api_key", "Bearer")


# --- M3: only a bad file is the operator's mistake ------------------------------------------------


def sent_file(content: bytes, name: str = "auth_json") -> Any:
    return browser().post("/api/accounts/import", {name: SimpleUploadedFile("auth.json", content)})


def imported(content: bytes, name: str = "auth_json") -> tuple[int, str]:
    answer = sent_file(content, name)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is empty"),
        (b"\xff\xfe\x00", "not text"),
        (b"[]", "must be a JSON object"),
        (b"{}", "has no tokens"),
        (b'{"tokens":{}}', "has no tokens.id_token"),
    ],
)
def test_m3_a_bad_file_is_a_bad_request_that_says_what_is_wrong(content: bytes, told: str) -> None:
    assert imported(content) == (400, "invalid_auth_json")
    assert told in sent_file(content).json()["error"]["message"]
    assert imported(content, "another_field") == (422, "validation_error")
    assert not Account.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "failure", [RuntimeError("secret"), ValueError("secret"), OperationalError("secret")]
)
def test_m3_a_failure_of_ours_is_not_a_bad_file(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**given: Any) -> None:
        raise failure

    monkeypatch.setattr(services, "account_import", fail)
    assert imported(json.dumps(make_auth_json()).encode()) == (500, "internal_error")
    assert failure in [record.exc_info[1] for record in caplog.records if record.exc_info]


@pytest.mark.django_db
def test_m3_a_second_import_leaves_a_paused_account_paused() -> None:
    content = json.dumps(make_auth_json()).encode()
    assert imported(content)[0] == 200
    services.account_pause(account_id=Account.objects.get().pk)
    assert imported(content)[0] == 200
    assert Account.objects.get().status == "paused"


@pytest.mark.django_db
def test_m3_a_second_import_brings_a_deactivated_account_back() -> None:
    content = json.dumps(make_auth_json()).encode()
    assert imported(content)[0] == 200
    Account.objects.update(status=Account.Status.DEACTIVATED, status_reason="closed")
    assert imported(content)[0] == 200
    account = Account.objects.get()
    assert (account.status, account.status_reason) == ("active", "")


@pytest.mark.django_db(transaction=True)
def test_m3_the_same_file_many_times_at_once_is_one_account() -> None:
    content = json.dumps(make_auth_json()).encode()

    def once(number: int) -> int:
        try:
            return imported(content)[0]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(once, range(6))) == {200}
    assert Account.objects.count() == 1


# --- M4: a start that fails leaves nothing open ---------------------------------------------------


def database_threads() -> list[str]:
    names = ("snapshots", "services", "records", "limits", "reads", "jobs")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(names)]


@pytest.fixture
def sessions_left() -> Callable[[], int]:
    """How many of the HTTP client's sessions have been opened since, and not closed."""

    def opened() -> set[ClientSession]:
        # By its exact type: to ask a lazy object of Django for its class would build what it stands for.
        found = (each for each in gc.get_objects() if type(each) is ClientSession)
        return {session for session in found if not session.closed}

    before = opened()
    return lambda: len(opened() - before)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_m4_a_start_that_fails_closes_what_it_opened_and_can_be_tried_again(
    monkeypatch: pytest.MonkeyPatch, sessions_left: Callable[[], int]
) -> None:
    def fail() -> None:
        raise OperationalError("no database yet")

    with monkeypatch.context() as patch:
        patch.setattr(runtimes, "remembered_conversations", fail)
        with pytest.raises(OperationalError):
            await asgi.startup()
    assert (database_threads(), sessions_left()) == ([], 0)
    await asgi.startup(background=False)
    assert database_threads() != [] and sessions_left() > 0
    await asgi.shutdown()
    assert (database_threads(), sessions_left()) == ([], 0)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_m4_jobs_that_cannot_start_leave_nothing_running(
    monkeypatch: pytest.MonkeyPatch, sessions_left: Callable[[], int]
) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("no jobs")

    with monkeypatch.context() as patch:
        patch.setattr(asgi, "jobs", fail)
        with pytest.raises(RuntimeError, match="no jobs"):
            await asgi.startup()
    assert (database_threads(), sessions_left()) == ([], 0)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_m4_an_end_that_fails_in_one_place_closes_the_rest(
    monkeypatch: pytest.MonkeyPatch, sessions_left: Callable[[], int]
) -> None:
    async def fail() -> None:
        raise RuntimeError("cannot flush")

    running = await runtimes.runtime()
    monkeypatch.setattr(running.writer, "stop", fail)
    writer = running.writer._task
    with pytest.raises(RuntimeError, match="cannot flush"):
        await asgi.shutdown()
    assert (database_threads(), sessions_left()) == ([], 0)
    if writer is not None:
        writer.cancel()


@pytest.mark.django_db
def test_m4_without_collected_files_it_serves_all_the_same(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = str(tmp_path / "nowhere")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert browser().get("/health").status_code == 200
        assert browser().get("/").headers["Location"] == "/admin/"
        assert browser().get("/admin/").status_code == 200
        with closing(browser().get("/static/admin/css/base.css")) as styles:
            assert styles.status_code == 200


def test_m4_without_any_file_of_the_dashboard_clients_are_served(tmp_path: Path) -> None:
    sim = Simulator()
    with running(sim) as upstream:
        environment = {
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
            "DJANGO_SETTINGS_MODULE": "tests.register.settings_without_files",
        }
        server = Server(tmp_path / "served", environment)
        try:
            member = Pool(sim, server.start()).account()
            answers = [member.send("GET", path) for path in ("/health", "/v1/models", "/", "/admin/")]
            missing = member.send("GET", "/static/admin/css/base.css")
            served = member.respond()
        finally:
            server.kill()
    assert [answer.status for answer in answers] == [200, 200, 302, 200]
    assert (missing.status, served.status) == (404, 200)


# --- M5: a conversation that goes on stays young --------------------------------------------------


def test_m5_a_pinned_conversation_is_touched_by_every_request(pool: Pool) -> None:
    member = pool.account()
    sql = "SELECT key, created_at, updated_at FROM proxy_stickysession WHERE account_id = ?"

    def rows() -> list[tuple[Any, ...]]:
        return pool.server.query(sql, member.id)

    assert member.respond(prompt_cache_key=" k1 ").status == 200
    ((key, created_at, first),) = until(rows, 10, "the conversation is kept")
    assert key.endswith("k1") and key == key.strip()
    assert member.respond(prompt_cache_key=" k1 ").status == 200
    until(lambda: rows()[0][2] > first, 10, "it is touched")
    assert [row[:2] for row in rows()] == [(key, created_at)]


# --- M6: the log shows what was asked for ---------------------------------------------------------


@pytest.fixture
def four_requests(db: None) -> None:
    base = {"path": "/v1/responses", "account_id": make_account().pk}
    rows = [
        ("r0", "gpt-5", None, "success", None),
        ("r1", "gpt-5", "high", "success", None),
        ("r2", "gpt-5.1", "low", "error", "rate_limit_exceeded"),
        ("r3", "gpt-5.1", None, "error", None),
        ("r4", "gpt-5.2", None, "error", "insufficient_quota"),
    ]
    for name, model, effort, status, code in rows:
        fields = {"model": model, "reasoning_effort": effort, "status": status, "error_code": code}
        RequestRecord.objects.create(request_id=name, **base, **fields)


ALL = ["r0", "r1", "r2", "r3", "r4"]


@pytest.mark.usefixtures("four_requests")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"modelOption": "gpt-5"}, ["r0"]),
        ({"modelOption": "gpt-5:::"}, ["r0"]),
        ({"modelOption": "gpt-5:::high"}, ["r1"]),
        ({"modelOption": " gpt-5 ::: high"}, ["r1"]),
        ({"modelOption": ":::high"}, ALL),
        ({"modelOption": ""}, ALL),
        ({"modelOption": "gpt-5:::high:::x"}, []),
        ({"status": "bogus"}, []),
        ({"status": " "}, []),
        ({"status": ["ok", "bogus"]}, ["r0", "r1"]),
        ({"status": "OK"}, ["r0", "r1"]),
        ({"status": "all"}, ALL),
        ({"status": ""}, ALL),
        ({"status": "rate_limit"}, ["r2"]),
        # A failure without a code is one all the same.
        ({"status": "error"}, ["r3"]),
        ({"status": "quota"}, ["r4"]),
        ({"modelOption": ["gpt-5:::high", "gpt-5.1:::low", ":::x"]}, ["r1", "r2"]),
        ({"since": "2020-01-01T00:00:00"}, ALL),
        ({"since": "2999-01-01T00:00:00"}, []),
        ({"since": "2020-01-01T00:00:00Z", "until": "2020-01-02T00:00:00+01:00"}, []),
        ({"modelOption": "gpt-5:::high", "model": "gpt-5.1"}, ["r1"]),
        ({"modelOption": "gpt-5:::high", "reasoningEffort": "low"}, ["r1"]),
        ({"modelOption": ":::high", "reasoningEffort": "low"}, ["r2"]),
    ],
)
def test_m6_filters_mean_what_they_say(query: dict[str, Any], expected: list[str]) -> None:
    found = browser().get("/api/request-logs", query).json()["requests"]
    assert sorted(row["requestId"] for row in found) == expected


@pytest.mark.usefixtures("four_requests")
def test_m6_an_unknown_status_leaves_no_options_and_bad_numbers_are_told() -> None:
    options = browser().get("/api/request-logs/options", {"status": "bogus"}).json()
    assert (options["accountIds"], options["modelOptions"]) == ([], [])
    for query in ({"limit": "0"}, {"limit": "1001"}, {"offset": "-1"}, {"since": "yesterday"}):
        refused = browser().get("/api/request-logs", query)
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "validation_error")


# --- M7: parts of a message have several names ----------------------------------------------------


def sent_part(pool: Pool, part: dict[str, Any]) -> Any:
    member = pool.account()
    answer = member.send(
        "POST", "/v1/responses", {"model": "gpt-5.5", "messages": [{"role": "user", "content": [part]}]}
    )
    assert answer.status == 200, answer.body
    return member.asked[-1]["input"][0]["content"][0]


def test_m7_a_system_text_may_be_called_an_input_text(pool: Pool) -> None:
    member = pool.account()
    system = {"role": "system", "content": [{"type": "input_text", "text": "S"}]}
    messages = [system, {"role": "user", "content": "hi"}]
    assert member.send("POST", "/v1/responses", {"model": "gpt-5.5", "messages": messages}).status == 200
    assert member.asked[-1]["instructions"] == "S"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"file_url": "https://x/y.pdf"}, "https://x/y.pdf"),
        ({"file_data": "QUJD", "mime_type": "text/plain"}, "data:text/plain;base64,QUJD"),
    ],
)
def test_m7_a_flat_file_is_a_file(pool: Pool, part: dict[str, str], expected: str) -> None:
    found = sent_part(pool, {"type": "file", **part})
    assert found == {"type": "input_file", "file_url": expected}


def test_m7_data_that_is_a_data_url_already_gets_no_second_one(pool: Pool) -> None:
    given = "data:application/pdf;base64,QQ"
    found = sent_part(pool, {"type": "file", "file_data": given})
    assert given in found.values()


def test_m7_a_file_s_id_means_nothing_here(pool: Pool) -> None:
    content = [{"type": "file", "file_id": "file-1"}]
    fields = {"model": "gpt-5.5", "messages": [{"role": "user", "content": content}]}
    answer = pool.account().send("POST", "/v1/responses", fields)
    assert (answer.status, answer.error["type"]) == (400, "invalid_request_error")
    # More exact than the review's `input`: the field that the client has sent.
    assert answer.error["param"] == "messages[0].content[0].file_id"
    items = {"model": "gpt-5.5", "input": [{"role": "user", "content": content}]}
    answer = pool.account().send("POST", "/v1/responses", items)
    assert (answer.status, answer.error["param"]) == (400, "input[0].content[0].file_id")


def test_m7_a_chat_knows_the_other_names_too(pool: Pool) -> None:
    member = pool.account()
    texts = [{"type": "input_text", "text": "S"}]
    file = {"type": "file", "file_url": "https://x/y.pdf"}
    answer = member.chat(
        messages=[{"role": "system", "content": texts}, {"role": "user", "content": [*texts, file]}]
    )
    assert answer.status == 200
    sent = member.asked[-1]
    assert sent["instructions"] == "S"
    expected = [{"type": "input_text", "text": "S"}, {"type": "input_file", "file_url": "https://x/y.pdf"}]
    assert sent["input"][0]["content"] == expected


def test_m7_calls_and_results_become_items_and_an_assistant_s_text_is_output(pool: Pool) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "on it", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    member = pool.account()
    for path in (CHAT, "/v1/responses"):
        assert member.send("POST", path, {"model": "gpt-5.5", "messages": messages}).status == 200
        said, called, result = member.asked[-1]["input"][1:]
        assert said["content"] == [{"type": "output_text", "text": "on it"}]
        assert called == {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
        assert result == {"type": "function_call_output", "call_id": "c1", "output": "done"}


@pytest.mark.parametrize("choice", ["code_interpreter", {"type": "code_interpreter"}])
def test_m7_a_tool_that_is_not_there_cannot_be_chosen_in_a_chat(pool: Pool, choice: Any) -> None:
    answer = pool.account().chat(tool_choice=choice)
    assert (answer.status, answer.error["param"]) == (400, "tool_choice")


def test_m7_a_search_may_be_chosen_by_its_former_name(pool: Pool) -> None:
    member = pool.account()
    assert member.chat(tool_choice="web_search_preview", tools=[{"type": "web_search"}]).status == 200
    assert member.asked[-1]["tool_choice"] == {"type": "web_search"}
    assert member.respond(tool_choice="web_search_preview").status == 200
    assert member.asked[-1]["tool_choice"] == "web_search"
