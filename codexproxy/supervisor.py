"""Binds the socket once and keeps N worker processes on it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

BACKLOG = 2048
# A worker that ends sooner than this after its start has a fault that a restart will not mend.
SHORT_LIFE_S = 5.0
SHORT_LIVES = 5
RESTART_PAUSE_S = 0.5


class CannotListen(Exception):
    """The address cannot be bound; the message says why."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that children inherit. Raises CannotListen."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.ExitStack() as on_failure:
            listening = on_failure.enter_context(socket.socket(family, kind, proto))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            on_failure.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(
                f"port {port} is in use: stop what uses it, or choose another --port"
            ) from None
        raise CannotListen(f"{host}:{port} cannot be listened on: {error.strerror or error}") from None
    listening.set_inheritable(True)
    return listening


def raise_file_limit() -> None:
    """Every stream needs two descriptors; the soft limit is often 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Supervisor:
    """Forks workers, replaces those that die, and passes signals on. Must be used before any thread runs."""

    def __init__(self, workers: int, work: Callable[[], int]) -> None:
        self._wanted = workers
        self._work = work
        self._started: dict[int, float] = {}
        self._short_lives = 0
        self._ending = False

    def run(self) -> int:
        """The exit code: 0 when all workers ended because they were told to."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        for _ in range(self._wanted):
            self._start()
        failed = False
        while self._started:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            began = self._started.pop(pid, None)
            if began is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if self._ending:
                failed = failed or code != 0
            elif not self._replace(pid, code, began):
                failed = True
                self._end(signal.SIGTERM, None)
        return 1 if failed else 0

    def _replace(self, pid: int, code: int, began: float) -> bool:
        """Start another worker; False when they die as fast as they are started."""
        if time.monotonic() - began < SHORT_LIFE_S:
            self._short_lives += 1
        else:
            self._short_lives = 0
        logger.error("worker %d ended with %d", pid, code)
        if self._short_lives >= SHORT_LIVES:
            logger.critical("workers end as soon as they start; see the log above for the cause")
            return False
        time.sleep(RESTART_PAUSE_S * self._short_lives)
        self._start()
        return True

    def _start(self) -> None:
        pid = os.fork()
        if pid:
            self._started[pid] = time.monotonic()
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        code = 1
        try:
            code = self._work()
        finally:
            # Never back into the parent's code.
            logging.shutdown()
            os._exit(code)

    def _end(self, number: int, frame: object) -> None:
        self._ending = True
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
