"""Binds the socket once and keeps N worker processes on it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable

logger = logging.getLogger(__name__)

BACKLOG = 2048
# A worker that ends sooner than this after its start has a fault that a restart will not mend.
SHORT_LIFE_S = 5.0
SHORT_LIVES = 5
RESTART_PAUSE_S = 0.5
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CannotListen(Exception):
    """The address cannot be bound; the message says why."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket that children inherit. Raises CannotListen."""
    if not 0 <= port <= 65535:
        raise CannotListen(f"{port} is not a port: they go from 1 to 65535")
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
    """Forks workers, replaces those that die, and passes signals on. Must be used before any thread runs.

    `work` runs in the child and returns its exit code; it closes `listening` when it accepts no more.
    `ended` is told the number of each worker that has ended.
    """

    def __init__(
        self,
        workers: int,
        listening: socket.socket,
        work: Callable[[], int],
        ended: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._wanted = workers
        self._listening = listening
        self._work = work
        self._told_of_end = ended
        self._started: dict[int, float] = {}
        self._short_lives = 0
        self._ending = False
        # Never written to: its end is how a worker learns that this process has gone.
        self._alive, self._keep_alive = os.pipe()

    def run(self) -> int:
        """The exit code: 0 when all workers ended because they were told to."""
        # Whoever started this process may have it ignored, and then children cannot be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _SIGNALS:
            signal.signal(number, self._end)
        for _ in range(self._wanted):
            self._start()
        failed = False
        while self._started:
            pid, status = os.wait()
            began = self._started.pop(pid, None)
            if began is None:
                # A child that is not a worker.
                continue
            self._told_of_end(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._ending:
                # The signal itself ends a worker that is still starting.
                failed = failed or code not in (0, -signal.SIGTERM)
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
        # A signal between the fork and the next line would miss the new worker, or run this process's
        # handler in it; and none may start a worker after the signal that ends them all.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            if self._ending:
                return
            pid = os.fork()
            if pid == 0:
                self._become_worker()
            self._started[pid] = time.monotonic()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _become_worker(self) -> None:
        code = 1
        try:
            # Ctrl-C in a terminal reaches its whole group: here it must come from the supervisor alone,
            # or each worker would take it for the second signal, which ends streams at once.
            os.setpgid(0, 0)
            os.close(self._keep_alive)
            for number in _SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            threading.Thread(target=_end_with, args=(self._alive,), name="parent-watch", daemon=True).start()
            code = self._work()
        finally:
            # Never back into the parent's code, which would have told of the failure.
            if sys.exc_info()[0] is not None:
                traceback.print_exc()
            logging.shutdown()
            os._exit(code)

    def _end(self, number: int, frame: object) -> None:
        self._ending = True
        # As long as one process has it open, the kernel goes on accepting.
        self._listening.close()
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


def _end_with(alive: int) -> None:
    """A supervisor that is killed outright leaves no workers on its port."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)
