"""Where an account's events go when they are translated: chunks as they come, or one completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from proxy.answer import Answer
from proxy.errors import ProxyError
from proxy.headers import HeaderList
from proxy.outcomes import UpstreamError
from proxy.sinks import JSON, Ending
from proxy.surface import surfaced


class Translation(Protocol):
    """Upstream's events in the client's language."""

    @property
    def trouble(self) -> Mapping[str, Any]:
        """What is wrong with a turn that went well and yet gives no answer."""

    def feed(self, events: bytes) -> bytes:
        """What the client's stream gets for whole events."""

    def completion(self) -> Mapping[str, Any] | None:
        """The whole answer; None when there is none."""

    def end_with_error(self, error: Mapping[str, Any]) -> bytes:
        """The end of a stream that failed; b"" when it has had its end."""


class ChatStream:
    """Chunks as they come, and their end."""

    is_stream = True

    def __init__(self, answer: Answer, chat: Translation) -> None:
        self._answer = answer
        self._chat = chat

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        chunks = self._chat.feed(first)
        if self._answer.begun:
            await self._answer.write(chunks)
        else:
            await self._answer.begin_stream(headers, chunks)

    async def write(self, events: bytes) -> None:
        chunks = self._chat.feed(events)
        if chunks:
            await self._answer.write(chunks)

    async def end(self, ending: Ending) -> None:
        await self._answer.end(self._chat.end_with_error(_error(ending, self._chat)))

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        if self._answer.begun:
            await self._answer.end(self._chat.end_with_error(error.error()))
        else:
            await self._answer.whole(error.status, [JSON, *headers, *error.headers], error.body())


class CollectedChat:
    """One completion at the end."""

    is_stream = False

    def __init__(self, answer: Answer, chat: Translation) -> None:
        self._answer = answer
        self._chat = chat
        self._headers: HeaderList = []

    async def begin(self, headers: HeaderList, first: bytes) -> None:
        self._headers = headers
        self._chat.feed(first)

    async def write(self, events: bytes) -> None:
        self._chat.feed(events)

    async def end(self, ending: Ending) -> None:
        completion = self._chat.completion()
        if completion is not None:
            await self._answer.whole(200, [JSON, *self._headers], msgspec.json.encode(completion))
            return
        await self.refuse(surfaced(_trouble(ending, self._chat), (), native=False), self._headers)

    async def refuse(self, error: ProxyError, headers: HeaderList) -> None:
        await self._answer.whole(error.status, [JSON, *headers, *error.headers], error.body())


def _trouble(ending: Ending, translation: Translation) -> UpstreamError:
    return ending.error or UpstreamError(None, translation.trouble)


def _error(ending: Ending, translation: Translation) -> Mapping[str, Any]:
    return surfaced(_trouble(ending, translation), (), native=False).error()
