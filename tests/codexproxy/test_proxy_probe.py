"""Who is answered by the doctor's address, and with what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from codexproxy.proxy_probe import (
    PATH,
    TOKEN_HEADER,
    UNDERSCORE_HEADER,
    is_doctors,
    make_token,
    probe,
)

pytestmark = pytest.mark.asyncio


def scope(kind: str = "http", *, query: bytes = b"", **headers: str) -> dict[str, Any]:
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {
        "type": kind, "method": "GET", "path": PATH, "query_string": query,
        "headers": [(b"host", b"localhost"), *pairs], "client": ["127.0.0.1", 1],
    }  # fmt: skip


async def answer(asked: dict[str, Any]) -> tuple[int, bytes]:
    communicator = ApplicationCommunicator(probe, asked)
    start = await communicator.receive_output(5)
    body = b""
    while True:
        message = await communicator.receive_output(5)
        body += message["body"]
        if not message.get("more_body"):
            return start["status"], body


def doctor() -> dict[str, str]:
    return {TOKEN_HEADER.decode(): make_token()}


@pytest.mark.parametrize("token", [None, "", "doctor", "doctor:1tsxyz:forged", "\xff"])
async def test_nobody_but_a_doctor_of_this_install_is_told_anything(token: str | None) -> None:
    given = {} if token is None else {TOKEN_HEADER.decode(): token}
    status, body = await answer(scope(**given))
    assert (status, list(json.loads(body))) == (403, ["error"])


async def test_a_doctor_is_told_what_has_arrived() -> None:
    asked = scope(**doctor(), x_forwarded_for="198.51.100.7", x_forwarded_proto="https")
    asked["headers"].append((UNDERSCORE_HEADER, b"doctor"))
    status, body = await answer(asked)
    seen = json.loads(body)
    assert status == 200
    assert (seen["peer"], seen["forwarded_for"]) == ("127.0.0.1", ["198.51.100.7"])
    assert (seen["forwarded_proto"], seen["has_underscore_header"]) == ("https", True)


async def test_a_stranger_s_websocket_is_not_opened() -> None:
    communicator = ApplicationCommunicator(probe, scope("websocket"))
    await communicator.send_input({"type": "websocket.connect"})
    assert (await communicator.receive_output(5))["type"] == "websocket.close"


@pytest.mark.parametrize("silence", [b"silence=nan", b"silence=-5", b"silence=soon", b"silence=0"])
async def test_a_silence_that_is_none_is_not_waited_for(silence: bytes) -> None:
    assert (await answer(scope(query=silence, **doctor())))[0] == 200


async def test_a_doctor_is_known_by_its_token_alone() -> None:
    assert is_doctors([(b"host", b"localhost"), (TOKEN_HEADER.upper(), make_token().encode())])
    assert not is_doctors([(b"x-other", make_token().encode()), (TOKEN_HEADER, b"")])
    assert not is_doctors([])
