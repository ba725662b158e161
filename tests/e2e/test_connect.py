"""What the dashboard tells a person to paste works with the real client."""

from __future__ import annotations

import html
import re
import urllib.request
from collections.abc import Callable

import pytest

from proxy.simulator import Simulator
from tests.e2e.codex import Codex
from tests.e2e.conftest import Start


@pytest.mark.client
def test_the_codex_snippet_connects_the_real_cli(
    sim: Simulator, serve: Start, codex: Callable[[str], Codex]
) -> None:
    sim.add_account("first")
    server = serve()
    with urllib.request.urlopen(f"{server.base_url}/admin/connect/") as answer:
        page = answer.read().decode()
    found = re.search(r'<pre [^>]*id="codex-snippet"[^>]*>(.*?)</pre>', page, re.S)
    assert found is not None
    cli = codex(server.base_url)
    (cli.home / "config.toml").write_text('model = "gpt-5.5"\n' + html.unescape(found[1]))
    ran = cli.exec("say hi")
    assert (ran.exit_code, ran.stdout) == (0, "Hello from the simulator."), ran.stderr
