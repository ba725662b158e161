"""A PostgreSQL server of the test run's own, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import missing
from tests.e2e.server import free_port

# It refuses to run as root.
ACCOUNT = "postgres"


def find_programs() -> Path | None:
    """The newest version's folder of programs."""
    on_path = shutil.which("initdb")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(on_path).parent if on_path else found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database, as CODEXPROXY_DATABASE_URL takes it."""
    programs = find_programs()
    if programs is None:
        missing("PostgreSQL (the package postgresql)")
    assert programs is not None
    # Not pytest's folder: another user may not even look into that.
    folder = Path(tempfile.mkdtemp(prefix="codexproxy-postgres-"))
    port = free_port()
    settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
    control = [str(programs / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    try:
        as_user = _prepared(folder)
        _run([*as_user, str(programs / "initdb"), "-D", str(folder / "data"), "-U", "cp", "-A", "trust"])
        _run([*as_user, *control, "-l", str(folder / "log"), "-o", settings, "start"])
        try:
            yield f"postgresql://cp@127.0.0.1:{port}/postgres"
        finally:
            _run([*as_user, *control, "-m", "immediate", "stop"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepared(folder: Path) -> list[str]:
    """What goes before each command."""
    if os.geteuid() != 0:
        return []
    shutil.chown(folder, ACCOUNT, ACCOUNT)
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]


def _run(command: list[str]) -> None:
    # Not through pipes: the server inherits them and would keep them open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, cwd="/", timeout=60, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read().decode(errors="replace")
