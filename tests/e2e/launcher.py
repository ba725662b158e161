"""Starts servers: as commands, or as forks of a process that has loaded the libraries once.

Loading them takes half of a start, and nearly every test starts a server of its own. The fork then does what
`manage.py` does: settings, models, migrations, Daphne, all are its own.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

POLL_S = 0.02
# What a server imports anyway and what reads no settings. Not Daphne: its reactor belongs to one process.
LIBRARIES = [
    "aiohttp",
    "autobahn.twisted.websocket",
    "autobahn.websocket.compress",
    "cryptography.fernet",
    "cryptography.hazmat.primitives.asymmetric.rsa",
    "django.contrib.postgres.fields",
    "django.core.handlers.asgi",
    "django.core.management",
    "django.db.migrations.executor",
    "django.forms",
    "django.template.defaulttags",
    "django.views",
    "drf_spectacular",
    "httpx",
    "msgspec.json",
    "prometheus_client",
    "psycopg",
    "psycopg_pool",
    "psycopg.types.json",
    "requests",
    "twisted.internet.asyncioreactor",
    "twisted.internet.endpoints",
    "twisted.web.http",
    "yaml",
]


class Forked:
    """Of `subprocess.Popen` what tests need, for a process that is not this one's child."""

    def __init__(self, launcher: Launcher, pid: int) -> None:
        self._launcher = launcher
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._launcher.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("manage.py", timeout)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that forks, begun with the first server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def start(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path) -> Forked:
        asked = {"arguments": arguments, "environment": dict(environment), "log": str(log)}
        return Forked(self, self.ask(asked))

    def ask(self, asked: Mapping[str, Any]) -> Any:
        with self._lock:
            if self._process is None:
                self._process = self._begin()
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def _begin(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.e2e.launcher"]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        atexit.register(self._end, process)
        return process

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.communicate(timeout=20)


of_this_run = Launcher()


def main() -> None:
    for library in LIBRARIES:
        importlib.import_module(library)
    for line in sys.stdin:
        asked = json.loads(line)
        if "ended" in asked:
            pid, status = os.waitpid(asked["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        elif (answer := os.fork()) == 0:
            return _become_server(**asked)
        print(json.dumps(answer), flush=True)


def _become_server(arguments: list[str], environment: dict[str, str], log: str) -> None:
    """Ends as an ordinary process does, with all that it does then."""
    with open(os.devnull) as nothing, open(log, "ab") as file:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = list(arguments)
    importlib.import_module("manage").main()


if __name__ == "__main__":
    main()
