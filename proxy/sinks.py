"""Where an account's events go: to the client as they are, translated, or collected into one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from proxy.answer import Answer
from proxy.assembly import FilledOutput, ResponseAssembly
from proxy.errors import ProxyError, Surfaced, created_event, failed_event
from proxy.headers import HeaderList
from proxy.outcomes import UpstreamError
from proxy.surface import surfaced

JSON = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. `is_told`: upstream's own last event has said so already."""

    error: UpstreamError | None
    is_told: bool
    response_id: str


class Sink(Protocol):
    """One for each answer. `is_stream`: what the client waits for may be kept alive."""

    is_stream: bool

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        """An account serves; `first` are its first events."""

    async def write(self, events: bytes) -> None:
        """Whole events, as they come."""

    async def end(self, ending: Ending) -> None:
        """The last event has come, or the stream broke."""

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        """No account serves, or the request cannot be."""


class EventSink:
    """Passes events on. `keeps_events`: a refusal that is the client's own business goes out as it came."""

    is_stream = True

    def __init__(self, answer: Answer, request_id: str, created_at: int, *, keeps_events: bool) -> None:
        self._answer = answer
        self._request_id = request_id
        self._created_at = created_at
        self._keeps_events = keeps_events

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        if self._answer.begun:
            await self._answer.write(first)
        else:
            await self._answer.begin_stream(headers, first)

    async def write(self, events: bytes) -> None:
        await self._answer.write(events)

    async def end(self, ending: Ending) -> None:
        broken = ending.error if not ending.is_told else None
        await self._answer.end(self._failed(broken.error, ending.response_id) if broken else b"")

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        events = error.events if isinstance(error, Surfaced) and self._keeps_events else b""
        if events:
            await self._answer.refuse(error.status, headers, events)
        elif self._answer.begun:
            await self._answer.end(self._failed(error.error(), ""))
        else:
            await self._answer.whole(error.status, [JSON, *headers, *error.headers], error.body())

    def _failed(self, error: Mapping[str, Any], response_id: str) -> bytes:
        return failed_event(error, response_id or self._request_id, self._created_at)


class ResponsesStream(EventSink):
    """Events as OpenAI's clients need them: `response.created` comes first, the last one has the output."""

    def __init__(
        self, answer: Answer, request_id: str, created_at: int, *, keeps_events: bool, model: str
    ) -> None:
        super().__init__(answer, request_id, created_at, keeps_events=keeps_events)
        self._model = model
        self._output = FilledOutput()
        self._has_begun = False

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self._has_begun = True
        await super().begin(headers, self._output.feed(first))

    async def write(self, events: bytes) -> None:
        await super().write(self._output.feed(events))

    def _failed(self, error: Mapping[str, Any], response_id: str) -> bytes:
        failed = super()._failed(error, response_id)
        if self._has_begun:
            return failed
        # Only keep-alives have gone out.
        return created_event(self._request_id, self._created_at, self._model) + failed


class PassedOn:
    """One body, which came whole; `content` is its type when it is not JSON."""

    is_stream = False

    def __init__(self, answer: Answer, *, content: bytes = b"application/json") -> None:
        self._answer = answer
        self._content = (b"content-type", content)
        self._headers: HeaderList = []
        self.status = 200
        self.body = b""

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self._headers, self.body = headers, first

    async def write(self, events: bytes) -> None:
        return

    async def end(self, ending: Ending) -> None:
        await self._answer.whole(self.status, [self._content, *self._headers], self.body)

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        await self._answer.whole(error.status, [JSON, *headers, *error.headers], error.body())


class CollectedResponse:
    """One response object at the end."""

    is_stream = False

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._assembly = ResponseAssembly()
        self._headers: HeaderList = []

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self._headers = headers
        self._assembly.feed(first)

    async def write(self, events: bytes) -> None:
        self._assembly.feed(events)

    async def end(self, ending: Ending) -> None:
        response = self._assembly.response()
        if ending.error is None and response is not None:
            await self._answer.whole(200, [JSON, *self._headers], msgspec.json.encode(response))
            return
        error = ending.error or UpstreamError(None, {"message": "Upstream gave no response object."})
        await self.refuse(surfaced(error, (), native=False), self._headers)

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        await self._answer.whole(error.status, [JSON, *headers, *error.headers], error.body())
