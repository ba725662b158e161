"""The real Codex CLI, as a person's shell would run it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

TIMEOUT_S = 60

CONFIG = """
model = "gpt-5.5"
model_provider = "codexproxy"
{settings}
[model_providers.codexproxy]
name = "{name}"
base_url = "{base_url}/backend-api/codex"
wire_api = "responses"
env_key = "CODEXPROXY_KEY"
supports_websockets = {websockets}
"""


# An older generation of the wire, installed beside the current one.
OLDER = "0.118"


def find_codex(version: str = "") -> str | None:
    if version:
        candidates: tuple[str | None, ...] = (
            str(ROOT / f".clients/codex-{version}/node_modules/.bin/codex"),
        )
    else:
        candidates = (
            os.environ.get("CODEXPROXY_TEST_CODEX"),
            str(ROOT / ".clients/node_modules/.bin/codex"),
            shutil.which("codex"),
        )
    return next((path for path in candidates if path and Path(path).exists()), None)


@dataclass(frozen=True, slots=True)
class Ran:
    exit_code: int
    stdout: str
    stderr: str


class Codex:
    """One CODEX_HOME with one configuration."""

    def __init__(
        self,
        program: str,
        folder: Path,
        base_url: str,
        *,
        websockets: bool = False,
        name: str = "codexproxy",
        settings: str = "",
        **provider: int,
    ) -> None:
        self._program = program
        self.home = folder / "codex-home"
        self.work = folder / "work"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        written = CONFIG.format(
            base_url=base_url, websockets=str(websockets).lower(), name=name, settings=settings
        )
        written += "".join(f"{name} = {value}\n" for name, value in provider.items())
        (self.home / "config.toml").write_text(written)

    def run(self, *arguments: str) -> Ran:
        with self.start(*arguments) as running:
            try:
                out, err = running.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                running.kill()
                raise
        return Ran(running.returncode, out.strip(), err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        kept = ("PATH", "LANG", "TERM", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "HOME": str(self.home),
            "CODEX_HOME": str(self.home),
            "CODEXPROXY_KEY": "anything",
            "TZ": "UTC",
        }
        return subprocess.Popen(
            [self._program, *arguments],
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def exec(self, *arguments: str) -> Ran:
        return self.run("exec", "--skip-git-repo-check", *arguments)

    def resume(self, first: Ran, *arguments: str) -> Ran:
        """Go on with the session that `first` began: under load `--last` may look before it is listed."""
        found = re.search(r"session id: ([0-9a-f-]{36})", first.stderr)
        assert found is not None, first.stderr
        return self.exec("resume", found[1], *arguments)
