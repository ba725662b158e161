"""`manage.py doctor` through a real nginx that is set up wrongly, in each way that Codex suffers from."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import send
from tests.e2e.conftest import Start
from tests.e2e.nginx import plain_in_front_of

RIGHT = {
    "buffering": "proxy_buffering off;",
    "underscores": "underscores_in_headers on;",
    "upgrade": "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    ' proxy_set_header Connection "upgrade";',
    "host": "proxy_set_header Host $http_host;",
    "client": "proxy_set_header X-Forwarded-For $remote_addr;",
    "bodies": "client_max_body_size 128m;",
    "patience": "proxy_read_timeout 900s;",
}  # fmt: skip
# What is left out or set otherwise, and what the doctor says of it, and of nothing else.
WRONG: dict[str, tuple[dict[str, str], list[str]]] = {
    "nothing": ({}, []),
    # With HTTP/1.1 towards the server nginx passes small chunks on at once, buffering or not.
    "buffering": ({"buffering": "", "upgrade": ""}, ["keeps events back", "websockets do not open"]),
    "underscores": ({"underscores": ""}, ["headers with underscores are dropped"]),
    "upgrade": ({"upgrade": "proxy_http_version 1.1;"}, ["websockets do not open"]),
    "host": ({"host": "proxy_set_header Host 127.0.0.1:1;"}, ["the host arrives as '127.0.0.1:1'"]),
    "client": (
        {"client": "proxy_set_header X-Forwarded-For $http_x_forwarded_for;"},
        ["as the client wrote it"],
    ),
    "bodies": ({"bodies": ""}, ["a body of 1.5 MiB is refused (413)"]),
    "patience": ({"patience": "proxy_read_timeout 1s;"}, ["gives up after"]),
}


def test_each_trap_of_a_reverse_proxy_is_found_alone_with_its_fix(
    sim: Simulator, serve: Start, tmp_path: Path
) -> None:
    sim.add_account("only")
    server = serve(CODEXPROXY_TRUSTED_PROXIES="127.0.0.1/32")
    sites = [" ".join({**RIGHT, **otherwise}.values()) for otherwise, _ in WRONG.values()]

    def found(url: str) -> list[str]:
        done = server.manage("doctor", "--url", url, "--silence", "2")
        assert done.returncode in (0, 1), done.stderr
        assert f"{url} leads here" in done.stdout, done.stdout
        return re.findall(r"^PROBLEM  reverse proxy: (.*)\n +→ \S", done.stdout, re.M)

    with (
        plain_in_front_of(server.port, sites, tmp_path / "nginx") as urls,
        ThreadPoolExecutor(4) as pool,
    ):
        answers = dict(zip(WRONG, pool.map(found, urls), strict=True))
    for name, (_, expected) in WRONG.items():
        assert len(answers[name]) == len(expected), (name, answers[name])
        for words, problem in zip(expected, answers[name], strict=True):
            assert words in problem


@pytest.mark.parametrize("path", ["/backend-api/doctor", "/backend-api/doctor?events=1"])
def test_a_stranger_learns_nothing_there(serve: Start, path: str) -> None:
    answer = send(serve(), "GET", path)
    assert (answer.status, list(answer.json())) == (403, ["error"])
