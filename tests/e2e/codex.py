"""The real Codex CLI, as a person's shell would run it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

TIMEOUT_S = 60

CONFIG = """
model = "gpt-5.5"
model_provider = "codexproxy"

[model_providers.codexproxy]
name = "codexproxy"
base_url = "{base_url}/backend-api/codex"
wire_api = "responses"
env_key = "CODEXPROXY_KEY"
supports_websockets = {websockets}
"""


def find_codex() -> str | None:
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

    def __init__(self, program: str, folder: Path, base_url: str, *, websockets: bool = False) -> None:
        self._program = program
        self.home = folder / "codex-home"
        self.work = folder / "work"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        settings = CONFIG.format(base_url=base_url, websockets=str(websockets).lower())
        (self.home / "config.toml").write_text(settings)

    def run(self, *arguments: str) -> Ran:
        kept = ("PATH", "LANG", "TERM", "TMPDIR")
        environment = {name: os.environ[name] for name in kept if name in os.environ}
        environment |= {
            "HOME": str(self.home),
            "CODEX_HOME": str(self.home),
            "CODEXPROXY_KEY": "anything",
            "TZ": "UTC",
        }
        done = subprocess.run(
            [self._program, *arguments],
            cwd=self.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout.strip(), done.stderr)

    def exec(self, *arguments: str) -> Ran:
        return self.run("exec", "--skip-git-repo-check", *arguments)
