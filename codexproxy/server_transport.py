"""The server's socket: prompt writes, a limit for clients that take nothing, and back-pressure."""

from __future__ import annotations

# Daphne's server installs the asyncio reactor, so it goes first.
from daphne.server import twisted_loop  # isort: skip

import asyncio
import logging
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet import tcp
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

logger = logging.getLogger(__name__)
reactor: Any = _reactor


@implementer(IPushProducer)
class WriteGate:
    """Closed while a client reads more slowly than it is written to."""

    def __init__(self) -> None:
        self._opened: asyncio.Event | None = None

    @property
    def is_closed(self) -> bool:
        return self._opened is not None

    async def wait(self) -> None:
        if self._opened is not None:
            await self._opened.wait()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's names
        if self._opened is None:
            self._opened = asyncio.Event()

    def resumeProducing(self) -> None:  # noqa: N802
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    def stopProducing(self) -> None:  # noqa: N802
        self.resumeProducing()


class PromptTransport(tcp.Server):
    """Writes at the end of the loop's turn; asks for writability only when the socket is full.

    Twisted asks epoll before each write and takes the request back afterwards, although the socket of
    a stream is nearly always writable. A client whose full socket takes no byte for `write_stall_s` is
    dropped, whether its answer is still being produced or only waits to be sent.
    """

    _is_flush_due = False
    _waits_for_socket = False
    _accepted_at = 0.0
    _stall: Any = None
    _own_end: Any = None

    def __init__(self, *args: Any, write_stall_s: float) -> None:
        super().__init__(*args)
        self._write_stall_s = write_stall_s

    def getHost(self) -> Any:  # noqa: N802
        """Our end of the connection, which stays what it is: the kernel is asked once."""
        if self._own_end is None:
            self._own_end = super().getHost()  # type: ignore[no-untyped-call]
        return self._own_end

    @property
    def has_unsent_bytes(self) -> bool:
        return bool(self.connected and (self.dataBuffer or self._tempDataBuffer))

    def startWriting(self) -> None:  # noqa: N802 - Twisted's names
        if not self._is_flush_due and not self._waits_for_socket:
            self._is_flush_due = True
            twisted_loop.call_soon(self._flush)

    def stopWriting(self) -> None:  # noqa: N802
        if self._waits_for_socket:
            self._waits_for_socket = False
            super().stopWriting()  # type: ignore[no-untyped-call]

    def writeSomeData(self, data: bytes) -> Any:  # noqa: N802
        written = super().writeSomeData(data)
        if self._waits_for_socket and isinstance(written, int) and written > 0:
            self._accepted_at = reactor.seconds()
        return written

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().connectionLost(reason)

    def _flush(self) -> None:
        self._is_flush_due = False
        if not self.connected or not hasattr(self, "socket"):
            return
        # The reactor's own way to write: it also closes the connection when that is due.
        reactor._readOrWrite(self, False)
        if self.has_unsent_bytes and hasattr(self, "socket"):
            self._waits_for_socket = True
            self._accepted_at = reactor.seconds()
            if self._stall is None:
                self._stall = reactor.callLater(self._write_stall_s, self._judge_stall)
            super().startWriting()  # type: ignore[no-untyped-call]

    def _judge_stall(self) -> None:
        self._stall = None
        if not self._waits_for_socket:
            return
        left_s = self._accepted_at + self._write_stall_s - reactor.seconds()
        if left_s > 0:
            self._stall = reactor.callLater(left_s, self._judge_stall)
        else:
            logger.warning("a client that stopped reading is disconnected")
            self.abortConnection()  # type: ignore[no-untyped-call]
