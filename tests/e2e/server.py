"""A real server process in front of a simulated upstream, and what can be read of it from outside."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from copy import copy
from pathlib import Path
from typing import Any

from proxy.simulator import SimAccount
from tests.conftest import ROOT
from tests.e2e.database import make_database
from tests.e2e.launcher import Forked, of_this_run

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 75.0
POLL_S = 0.02
SERVE = ("manage.py", "serve")
RECORDS = "requestlogs_requestrecord"


def until(condition: Callable[[], Any], timeout_s: float, what: str) -> Any:
    """The first true value of `condition`; the deadline is part of every wait."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(POLL_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def port_for_later() -> int:
    """For a listener that opens later: free, and below the ports of outgoing connections.

    One of those, even one that ended within the last minute, would keep the listener from its port.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def write_auth_files(folder: Path, accounts: Iterable[SimAccount]) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for account in accounts:
        path = folder / f"{account.id}.json"
        path.write_text(json.dumps(account.auth_json()))
        paths.append(str(path))
    return paths


class Server:
    """One data folder with the process that serves it."""

    def __init__(self, folder: Path, environment: Mapping[str, str], template: Path | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.database = make_database(self.data_dir, template)
        self.log_file = folder / "server.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("CODEXPROXY_")}
        inherited.pop("DJANGO_SETTINGS_MODULE", None)
        self.environment = {
            **inherited,
            "CODEXPROXY_DATA_DIR": str(self.data_dir),
            **self.database.environment,
            **environment,
        }
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self._siblings: list[Server] = []

    def sibling(self) -> Server:
        """Another process on the same data and database, with a port of its own; not started yet."""
        other = copy(self)
        other.port, other.process, other._siblings = free_port(), None, []
        other.log_file = self.folder / f"server-{other.port}.log"
        self._siblings.append(other)
        return other

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=100, check=False
        )

    def import_accounts(self, accounts: Iterable[SimAccount]) -> None:
        files = write_auth_files(self.folder / "auth", accounts)
        done = self.manage("import_accounts", "--no-verify", *files)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, command: tuple[str, ...] | None = None) -> Server:
        self.launch(command)
        return self.started()

    def launch(self, command: tuple[str, ...] | None = None) -> None:
        """Without waiting for it. A `command` is given to a Python of its own."""
        if command is None:
            arguments = (*SERVE, "--port", str(self.port))
            self.process = of_this_run.start(arguments, self.environment, self.log_file)
            return
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def started(self) -> Server:
        until(self._is_ready, READY_TIMEOUT_S, "the server is ready")
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log}"
        return self.readiness() == 200

    def readiness(self) -> int | None:
        """The status of /health/ready; None when nothing listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection):
            try:
                connection.request("GET", "/health/ready")
                response = connection.getresponse()
                response.read()
                return response.status
            except (OSError, http.client.HTTPException):
                return None

    def terminate(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """Whatever became of it and its siblings, nothing stays behind."""
        for sibling in self._siblings:
            sibling.kill()
        if self.process is not None and self.process.poll() is None:
            for pid in family(self.process.pid)[1:]:
                _kill(pid)
            self.process.kill()
            self.process.wait(10)

    def query(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self.database.query(sql, *parameters)

    def records(self, columns: str = "status, status_code, error_code, account_id") -> list[tuple[Any, ...]]:
        return self.query(f"SELECT {columns} FROM {RECORDS} ORDER BY id")

    def wait_for_records(self, number: int, timeout_s: float = 5.0) -> list[tuple[Any, ...]]:
        until(lambda: len(self.records()) >= number, timeout_s, f"{number} records are written")
        return self.records()

    def attempts(self) -> list[list[dict[str, Any]]]:
        """Of each record, in order."""
        found = [attempts for (attempts,) in self.records("attempts")]
        # SQLite keeps JSON as text.
        return [json.loads(attempts) if isinstance(attempts, str) else attempts for attempts in found]

    def memory_bytes(self) -> int:
        """What the server and its workers hold of their own."""
        return sum(_resident(pid) for pid in family(self.pid))


def family(pid: int) -> list[int]:
    """A process and all that it started, itself first."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _resident(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
