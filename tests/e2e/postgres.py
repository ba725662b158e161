"""A PostgreSQL server of one test's own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, missing


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty database, as CODEXPROXY_DATABASE_URL takes it."""
    if not (shutil.which("pg_ctl") or any(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))):
        missing("PostgreSQL (Debian: apt-get install postgresql)")
    # It lives as long as its command, and that as long as our end of the pipe is open.
    command = [str(ROOT / "scripts/postgres"), "sh", "-c", 'echo "$CODEXPROXY_DATABASE_URL"; cat']
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "PostgreSQL did not start"
        try:
            yield url
        finally:
            process.stdin.close()
            process.wait(30)
