"""A POST to a real server on this machine."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from accounts.notices.messages import DeliveryFailed, Message, payload, signature
from accounts.notices.webhook import Webhook, post
from codexproxy.http import HttpClient
from tests.accounts.notices.receivers import WebReceiver
from tests.builders import NOW

MESSAGE = Message("id-1", "pool_low", NOW, "The pool is low", "4 % is left.", "acc-1", "ann@example.com")


def send(webhook: Webhook, timeout_s: float = 5.0) -> None:
    async def run() -> None:
        client = HttpClient()
        try:
            await post(client, webhook, MESSAGE, now_s=1_700_000_000.5, timeout_s=timeout_s)
        finally:
            await client.close()

    asyncio.run(run())


def test_it_works(web: WebReceiver) -> None:
    send(Webhook(web.url))
    ((path, headers, body),) = web.requests
    assert path == "/hook/s3cret-path"
    assert json.loads(body) == json.loads(payload(MESSAGE))
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert (headers["x-codexproxy-event"], headers["x-codexproxy-delivery"]) == ("pool_low", "id-1")
    assert "x-codexproxy-signature" not in headers
    assert "cookie" not in headers


def test_with_a_secret_the_body_is_signed(web: WebReceiver) -> None:
    send(Webhook(web.url, "shared"))
    ((_, headers, body),) = web.requests
    assert headers["x-codexproxy-timestamp"] == "1700000000"
    assert headers["x-codexproxy-signature"] == signature("shared", 1_700_000_000, body)


@pytest.mark.parametrize("status", [200, 201, 204])
def test_every_success_is_one(web: WebReceiver, status: int) -> None:
    web.answers = [status]
    send(Webhook(web.url))


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
def test_any_other_answer_is_a_failure_that_names_it(web: WebReceiver, status: int) -> None:
    web.answers = [status]
    with pytest.raises(DeliveryFailed, match=f"It answered {status}."):
        send(Webhook(web.url))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(web: WebReceiver, status: int) -> None:
    web.answers, web.headers = [status], {"location": web.url + "/elsewhere"}
    with pytest.raises(DeliveryFailed, match="redirects are not followed"):
        send(Webhook(web.url))
    assert len(web.requests) == 1


def test_a_server_that_is_silent_is_given_up(web: WebReceiver) -> None:
    web.answers = [None]
    begun = time.monotonic()
    with pytest.raises(DeliveryFailed, match="no answer"):
        send(Webhook(web.url), timeout_s=0.2)
    assert time.monotonic() - begun < 5


def test_a_failure_does_not_tell_the_address() -> None:
    with pytest.raises(DeliveryFailed, match="cannot be reached") as failure:
        send(Webhook("http://127.0.0.1:9/hook/s3cret-path?token=s3cret"))
    assert "s3cret" not in str(failure.value)
    assert "s3cret" not in repr(Webhook("http://127.0.0.1:9/s3cret", "s3cret"))


def test_an_answer_that_is_none_of_http_is_a_failure_without_the_address(web: WebReceiver) -> None:
    web.headers = {"bad header": "x"}
    with pytest.raises(DeliveryFailed) as failure:
        send(Webhook(web.url))
    assert "s3cret" not in str(failure.value)
