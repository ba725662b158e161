"""Imports accounts into the data of servers that are not started yet.

As `manage.py import_accounts` does it, in a process that has loaded the program once and forks for each data
folder: loading it takes ten times as long as importing, and nearly every test imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from proxy.simulator import SimAccount
from tests.conftest import ROOT
from tests.e2e.database import PostgresDatabase
from tests.e2e.server import Server, write_auth_files

# With one of these of its own, a server's data is not a copy of the template's.
OWN_DATA = ("CODEXPROXY_DATABASE_URL", "CODEXPROXY_DATA_DIR", "CODEXPROXY_ENCRYPTION_KEY")


class Importer:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def bring(self, server: Server, accounts: Iterable[SimAccount]) -> None:
        database = server.database
        name = database.url.rpartition("/")[2] if isinstance(database, PostgresDatabase) else database.file
        files = write_auth_files(server.folder / "auth", accounts)
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = {"data_dir": str(server.data_dir), "database": str(name), "files": files}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer["code"] == 0, f"importing failed; see the error output: {answer}"


@contextmanager
def importing(template: Server) -> Iterator[Importer]:
    """`template` is whose data those of the other servers are copied from."""
    command = [sys.executable, "-m", "tests.e2e.importer"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, env=template.environment, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield Importer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(20)


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "codexproxy.settings"
    import django

    django.setup()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _import(json.loads(line))
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _import(asked: dict[str, object]) -> None:
    """Never returns."""
    from pathlib import Path

    from django.conf import settings
    from django.core.management import call_command
    from django.db import connections

    code = 1
    try:
        settings.DATA_DIR = Path(str(asked["data_dir"]))
        connections.settings["default"]["NAME"] = asked["database"]
        with open(os.devnull, "w") as nowhere:
            call_command("import_accounts", *asked["files"], no_verify=True, stdout=nowhere)  # type: ignore[misc]
        connections.close_all()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
