"""The processes of a run: started on cores of their own, waited for, measured, ended."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_S = 0.1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pinned(command: list[str], *cores: int) -> list[str]:
    """On cores of its own, so that the load never takes time from the server."""
    count = os.cpu_count() or 1
    if not shutil.which("taskset") or count < 2:
        return command
    return ["taskset", "-c", ",".join(sorted({str(core % count) for core in cores})), *command]


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], port: int) -> Iterator[int]:
    """The process's id, once it listens on `port`."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if "litellm" in command[-1] else None,
    )
    try:
        _wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(40)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} does not listen on {port}")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def cpu_s(pid: int | None) -> float:
    """User and system time of a process and its descendants so far."""
    ticks = 0
    for member in family(pid) if pid is not None else ():
        fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_kib(pid: int | None) -> int:
    """The memory of a process and its descendants."""
    total = 0
    for member in family(pid) if pid is not None else ():
        for line in Path(f"/proc/{member}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


class MemoryWatch:
    """The most memory that a process has while this is open, above what it had at first."""

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._first = self._most = resident_kib(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def grown_kib(self) -> int:
        return self._most - self._first

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self._most = max(self._most, resident_kib(self._pid))
