"""Each way in which upstream fails, as the exception that the real openai SDK raises for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from proxy.simulator import Cut, Disconnect, EndOfStream, Fail, FailEvent, Reply, Simulator, running
from tests.e2e.server import Server, until
from tests.register.pool import Pool

BAD, AUTH, DENIED, NOT_FOUND = (
    openai.BadRequestError,
    openai.AuthenticationError,
    openai.PermissionDeniedError,
    openai.NotFoundError,
)
LIMITED, FAILED = openai.RateLimitError, openai.InternalServerError


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One server; every case has an account and a key of its own."""
    sim = Simulator()
    with running(sim) as upstream:
        environment = {
            "CODEXPROXY_UPSTREAM_BASE_URL": f"{upstream.base_url}/backend-api",
            "CODEXPROXY_AUTH_BASE_URL": upstream.base_url,
        }
        server = Server(tmp_path_factory.mktemp("errors") / "served", environment)
        try:
            yield Pool(sim, server.start())
            assert server.stop() == 0, server.log
        finally:
            server.kill()
            print(f"--- log of the server\n{server.log[-6000:]}")


def event(code: str, kind: str | None = None) -> FailEvent:
    return FailEvent({"code": code, "type": kind, "message": f"about {code}"})


CASES: list[tuple[str, Reply, type[openai.APIStatusError], int, str]] = [
    ("a 400 with a detail", Fail.detail(400, "Bad thing"), BAD, 400, "Bad thing"),
    ("a 401 with a new token", Fail.unauthorized(), AUTH, 401, "refreshed less than a minute ago"),
    ("a 402", Fail.detail(402, "Pay first"), openai.APIStatusError, 402, "Pay first"),
    ("a 403 page", Fail.forbidden_html(), DENIED, 403, "HTTP 403 Forbidden"),
    ("a 404", Fail.model_not_found("gpt-9"), NOT_FOUND, 404, "gpt-9"),
    ("a 409", Fail.detail(409, "Twice"), openai.ConflictError, 409, "Twice"),
    ("a 422", Fail.detail(422, "Not so"), openai.UnprocessableEntityError, 422, "Not so"),
    ("a 429 of a limit", Fail.usage_limit(resets_in_seconds=60), LIMITED, 429, "usage limit"),
    ("a 429 of a quota", Fail.insufficient_quota(), LIMITED, 429, "current quota"),
    ("a 429 of a rate", Fail.rate_limited(), LIMITED, 429, "Rate limit reached"),
    ("a 500", Fail.server_error(500), FAILED, 500, "The server had an error"),
    ("an empty 502", Fail.empty(502), FAILED, 502, "HTTP 502 Bad Gateway"),
    ("a 503", Fail.overloaded(), FAILED, 503, "overloaded"),
    ("a limit in the stream", FailEvent.usage_limit(), LIMITED, 429, "usage limit"),
    ("a rate in the stream", FailEvent.rate_limited(), LIMITED, 429, "Rate limit reached"),
    ("a quota in the stream", event("insufficient_quota"), LIMITED, 429, "about insufficient_quota"),
    ("too much in the stream", FailEvent.context_length(), BAD, 400, "context window"),
    ("a key in the stream", event("invalid_api_key"), AUTH, 401, "about invalid_api_key"),
    ("a right in the stream", event("insufficient_permissions"), DENIED, 403, "about insufficient"),
    ("a name in the stream", event("not_found", "invalid_request_error"), NOT_FOUND, 404, "about not_found"),
    ("an overload in the stream", FailEvent.overloaded(), FAILED, 503, "overloaded"),
    ("a failure in the stream", FailEvent.server_error(), FAILED, 502, "The server had an error"),
    ("a stream that breaks at once", Cut(after=0), FAILED, 503, "connection to upstream broke"),
    ("a stream that ends at once", EndOfStream(after=0), FAILED, 502, "ended the stream"),
    ("a connection that breaks", Disconnect(), FAILED, 503, "connection to upstream broke"),
]


def ask(client: openai.OpenAI, api: str, **fields: Any) -> Any:
    if api == "chat":
        messages: Any = [{"role": "user", "content": "hi"}]
        return client.chat.completions.create(model="gpt-5.5", messages=messages, **fields)
    return client.responses.create(model="gpt-5.5", input="hi", **fields)


@pytest.mark.parametrize(
    ("reply", "expected", "status", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_it_is_the_right_exception_with_a_message(
    reply: Reply, expected: type[openai.APIStatusError], status: int, words: str, pool: Pool
) -> None:
    """Whichever API is asked, and whether a stream was asked for or not: nothing has been answered yet."""
    for api, stream in (("responses", False), ("responses", True), ("chat", False), ("chat", True)):
        member = pool.account()
        member.account.default = reply
        with (
            openai.OpenAI(base_url=f"{pool.server.base_url}/v1", api_key=member.key, max_retries=0) as client,
            pytest.raises(expected, match=words) as caught,
        ):
            ask(client, api, stream=stream)
        assert type(caught.value) is expected
        assert (caught.value.status_code, bool(caught.value.request_id)) == (status, True)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["message"] and caught.value.body["type"] and caught.value.body["code"]
    assert pool.sim.violations == []


@pytest.mark.parametrize("reply", [Cut(after=2), EndOfStream(after=2), FailEvent.server_error(after=2)])
def test_a_chat_that_fails_behind_its_first_words_is_an_exception_too(reply: Reply, pool: Pool) -> None:
    member = pool.account(reply)
    with openai.OpenAI(base_url=f"{pool.server.base_url}/v1", api_key=member.key, max_retries=0) as client:
        chunks = iter(ask(client, "chat", stream=True))
        assert next(chunks).choices[0].delta.role == "assistant"
        with pytest.raises(openai.APIError) as caught:
            list(chunks)
    assert caught.value.message


def test_nobody_to_ask_is_told_with_the_reason(pool: Pool) -> None:
    member = pool.account()
    assert pool.send("POST", f"/api/accounts/{member.id}/pause").status == 200
    until(lambda: member.respond().status != 200, 10, "the pause is known")
    with (
        openai.OpenAI(base_url=f"{pool.server.base_url}/v1", api_key=member.key, max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="paused") as caught,
    ):
        ask(client, "chat")
    assert (caught.value.status_code, caught.value.code) == (503, "no_accounts")
