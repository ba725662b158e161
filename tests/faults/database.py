"""What can become of a database under a running server: it is locked, its disk is full, it restarts."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.e2e.database import PostgresDatabase
from tests.e2e.server import Server, family

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


@contextmanager
def locked(server: Server) -> Iterator[None]:
    """Everybody can read, nobody can write."""
    database = server.database
    if not isinstance(database, PostgresDatabase):
        with database.locked():
            yield
        return
    with psycopg.connect(database.url) as connection:
        _lock_all(connection)
        yield


def _lock_all(connection: psycopg.Connection[Any]) -> None:
    """A server that writes meanwhile may be waited for in a circle; then this is tried again."""
    tables = ", ".join(f'"{name}"' for (name,) in connection.execute(TABLES).fetchall())
    for last in (False, False, False, True):
        try:
            connection.execute(f"LOCK TABLE {tables} IN EXCLUSIVE MODE".encode())
            return
        except psycopg.errors.DeadlockDetected:
            connection.rollback()
            if last:
                raise


class FullDisk:
    """A file system that runs full when it is told to, with the SQLite database on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, server: Server) -> None:
        raise NotImplementedError

    def free(self, server: Server) -> None:
        raise NotImplementedError


class SmallDisk(FullDisk):
    """A real one, in memory: it has room until a large file takes it."""

    def fill(self, server: Server) -> None:
        with (self.folder / "large").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

    def free(self, server: Server) -> None:
        (self.folder / "large").unlink()


class NoLargerFiles(FullDisk):
    """Where nothing can be mounted: no file of the server may grow."""

    def fill(self, server: Server) -> None:
        for pid in family(server.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))

    def free(self, server: Server) -> None:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        for pid in family(server.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)


@contextmanager
def disk(folder: Path) -> Iterator[FullDisk]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        yield NoLargerFiles(folder)
        return
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def durable(url: str) -> None:
    """What was committed outlives the server's processes, as it does by default."""
    with psycopg.connect(url) as connection:
        connection.execute("ALTER DATABASE codexproxy SET synchronous_commit = on")


def restart_postgres(url: str) -> None:
    """At once, as after a power cut: connections break in the middle of whatever they do."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    data = Path(row[0])
    program = next(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), Path("pg_ctl"))
    command = [str(program), "-D", str(data), "-m", "immediate", "-w", "restart"]
    if os.geteuid() == 0:
        # The server refuses to run as root; its folder is its owner's.
        command = ["runuser", "-u", data.owner(), "--", *command]
    done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 0
