"""The client's side of a test: requests over plain sockets, answers as values."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from tests.e2e.server import Server

RESPONSES = "/backend-api/codex/responses"
Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error = self.json()["error"]
        assert isinstance(error, dict) and error["message"] and error["type"], self.body
        return error

    @property
    def events(self) -> list[Event]:
        return events_of(self.body)

    @property
    def text(self) -> str:
        return "".join(
            event["delta"] for event in self.events if event["type"] == "response.output_text.delta"
        )

    @property
    def output(self) -> list[Event]:
        """The finished items of the turn, as the client sends them back in its next one."""
        return [event["item"] for event in self.events if event["type"] == "response.output_item.done"]


def events_of(body: bytes) -> list[Event]:
    data = (line.removeprefix("data: ") for line in body.decode().splitlines() if line.startswith("data: "))
    return [json.loads(text) for text in data if text != "[DONE]"]


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def turn(*items: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A request as Codex makes it, in short."""
    asked = {"model": "gpt-5.5", "input": list(items) or [message("hello")], "stream": True, "store": False}
    return {**asked, "include": ["reasoning.encrypted_content"], **fields}


def send(
    server: Server,
    method: str = "POST",
    path: str = RESPONSES,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    timeout_s: float = 30.0,
) -> Answer:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)) as connection:
        return send_over(connection, method, path, body, headers)


def send_over(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    connection.request(method, path, body, dict(headers or {}))
    response = connection.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


def ask(server: Server, body: dict[str, Any] | None = None, session: str = "", **headers: str) -> Answer:
    """One turn; `session` names its conversation as Codex does."""
    sent = {"Content-Type": "application/json", "Authorization": "Bearer anything", **headers}
    if session:
        sent["session-id"] = session
    return send(server, body=json.dumps(turn() if body is None else body).encode(), headers=sent)


def opened(
    server: Server, body: dict[str, Any]
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """A stream of which nothing but the headers is read yet."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", RESPONSES, json.dumps(body), {"Content-Type": "application/json"})
    return connection, connection.getresponse()


def at_once(number: int, do: Callable[[int], Answer]) -> list[Answer]:
    with ThreadPoolExecutor(number) as threads:
        return list(threads.map(do, range(number)))


def multipart(name: str, filename: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    boundary = "a-boundary-of-the-tests"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    body = (
        head.encode()
        + b"Content-Type: application/json\r\n\r\n"
        + content
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def upload(server: Server, content: bytes) -> Answer:
    body, headers = multipart("auth_json", "auth.json", content)
    return send(server, "POST", "/api/accounts/import", body, headers)


def types_of(events: Iterable[Event]) -> list[str]:
    return [event["type"] for event in events]
