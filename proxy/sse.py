"""Pure: cuts a byte stream of server-sent events into events, whatever pieces it comes in."""

from __future__ import annotations

import re
from collections.abc import Iterator

# An event ends at an empty line; the line ends may be LF, CRLF or CR (WHATWG, "event streams").
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class EventTooLarge(Exception):
    """One event is larger than the limit."""


class EventSplitter:
    """Holds back the incomplete end of the stream; hands out whole events."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tail = bytearray()
        # Where to look on: a boundary may begin up to three bytes before what came last.
        self._searched = 0

    @property
    def pending(self) -> bytes:
        """What came after the last whole event."""
        return bytes(self._tail)

    def feed(self, block: bytes) -> bytes:
        """All whole events that are complete now, as they came. Raises EventTooLarge."""
        if not self._tail:
            if block.endswith(b"\n\n"):
                return block
            cut = _last_boundary(block, 0)
            self._tail += block[cut:]
            self._searched = len(self._tail)
            self._check()
            return block[:cut]
        self._tail += block
        cut = _last_boundary(self._tail, max(0, self._searched - 3))
        complete = bytes(self._tail[:cut])
        del self._tail[:cut]
        self._searched = len(self._tail)
        self._check()
        return complete

    def _check(self) -> None:
        if len(self._tail) > self._limit:
            raise EventTooLarge(f"an event is larger than {self._limit} bytes")


def _last_boundary(data: bytes | bytearray, start: int) -> int:
    """The offset after the last boundary at or after `start`; 0 when there is none."""
    cut = data.rfind(b"\n\n", start) + 2
    if data.find(b"\r", start) >= 0:
        crlf = data.rfind(b"\r\n\r\n", start) + 4
        cut = max(cut, data.rfind(b"\r\r", start) + 2, crlf if crlf > 3 else 0)
    return cut if cut > 1 else 0


def split_events(data: bytes) -> Iterator[bytes]:
    """Each whole event of `data`, with its closing empty line."""
    if is_framed(data):
        yield data
        return
    start = 0
    if b"\r" not in data:
        while (end := data.find(b"\n\n", start) + 2) > 1:
            yield data[start:end]
            start = end
    else:
        for match in _BOUNDARY.finditer(data):
            yield data[start : match.end()]
            start = match.end()
    if start < len(data):
        yield data[start:]


def event_data(event: bytes) -> bytes:
    """The data of one event: its `data:` lines joined by line feeds; b"" for a comment."""
    # As nearly every event is: one line of data, be it behind its name.
    start = event.find(b"\n") + 1 if event.startswith(b"event:") else 0
    if event.startswith(b"data: ", start) and b"\r" not in event:
        end = event.find(b"\n", start)
        if end < 0 or event[end:] == b"\n\n":
            return event[start + 6 : end if end >= 0 else None]
    lines = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            value = line[5:]
            lines.append(value[1:] if value.startswith(b" ") else value)
    return b"\n".join(lines)


def each_data(events: bytes) -> Iterator[bytes]:
    """The data of each event."""
    if b"\r" in events:
        yield from map(event_data, split_events(events))
        return
    for event in events.split(b"\n\n"):
        # One line of data, as nearly every event has.
        is_plain = event.startswith(b"data: ") and b"\n" not in event
        yield event[6:] if is_plain else event_data(event + b"\n\n")


def is_framed(events: bytes) -> bool:
    """Whether this is one event with one line of data, an object, as `framed_event` makes it."""
    return events.startswith(b"data: {") and events.find(b"\n") == len(events) - 2 and b"\r" not in events


def framed_event(data: bytes) -> bytes:
    """An event of this data, as `event_data` gives it back."""
    if b"\n" in data or b"\r" in data:
        return b"".join(b"data: " + line + b"\n" for line in data.splitlines()) + b"\n"
    return b"data: " + data + b"\n\n"
