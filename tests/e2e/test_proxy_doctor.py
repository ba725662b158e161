"""`manage.py doctor` through a real nginx that is set up wrongly, in each way that Codex suffers from."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.simulator import Simulator
from tests.e2e.asking import send
from tests.e2e.conftest import Start
from tests.e2e.nginx import sites_in_front_of
from tests.e2e.server import Server

Wrong = dict[str, tuple[dict[str, str], list[str]]]

RIGHT = {
    "buffering": "proxy_buffering off;",
    "underscores": "underscores_in_headers on;",
    "upgrade": "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
    ' proxy_set_header Connection "upgrade";',
    "host": "proxy_set_header Host $http_host;",
    "client": "proxy_set_header X-Forwarded-For $remote_addr;",
    "from": "",
    "scheme": "proxy_set_header X-Forwarded-Proto $scheme;",
    "bodies": "client_max_body_size 128m;",
    "patience": "proxy_read_timeout 900s;",
}  # fmt: skip
# What is left out or set otherwise, and what the doctor says of it, and of nothing else.
WRONG: Wrong = {
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
    "no client": ({"client": 'proxy_set_header X-Forwarded-For "";'}, ["X-Forwarded-For does not arrive"]),
    # The doctor itself comes from a network that is named as a proxy's.
    "believed client": (
        {"client": "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"},
        ["the address that a client claims is believed"],
    ),
    "unnamed": ({"from": "proxy_bind 127.0.0.2;"}, ["127.0.0.2 is not named as a proxy"]),
    "bodies": ({"bodies": ""}, ["a body of 1.5 MiB is refused (413)"]),
    "patience": ({"patience": "proxy_read_timeout 1s;"}, ["gives up after"]),
}
WRONG_OVER_TLS: Wrong = {
    "nothing": ({}, []),
    "no scheme": (
        {"scheme": 'proxy_set_header X-Forwarded-Proto "";'},
        ["X-Forwarded-Proto does not arrive"],
    ),
}


def sites(wrong: Wrong) -> list[str]:
    return [" ".join({**RIGHT, **otherwise}.values()) for otherwise, _ in wrong.values()]


def compare(wrong: Wrong, server: Server, urls: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda url: found(server, url), urls))
    for (name, (_, expected)), answer in zip(wrong.items(), answers, strict=True):
        assert len(answer) == len(expected), (name, answer)
        for words, problem in zip(expected, answer, strict=True):
            assert words in problem


def found(server: Server, url: str) -> list[str]:
    done = server.manage("doctor", "--url", url, "--silence", "2")
    assert done.returncode in (0, 1), done.stderr
    assert f"{url} leads here" in done.stdout, done.stdout
    return re.findall(r"^PROBLEM  reverse proxy: (.*)\n +→ \S", done.stdout, re.M)


def trusting(server: Server, authority: Path, folder: Path) -> Server:
    """The same install on a machine whose list of authorities has this one only."""
    (folder / "certifi").mkdir(parents=True)
    (folder / "certifi/__init__.py").write_text(f"def where():\n    return {str(authority)!r}\n")
    other = server.sibling()
    other.environment = {**server.environment, "PYTHONPATH": str(folder)}
    return other


# A doctor for each site, and each is a process.
@pytest.mark.timeout(400)
def test_each_trap_of_a_reverse_proxy_is_found_alone_with_its_fix(
    sim: Simulator, serve: Start, tmp_path: Path
) -> None:
    sim.add_account("only")
    server = serve(CODEXPROXY_TRUSTED_PROXIES="127.0.0.1/32")
    with sites_in_front_of(server.port, sites(WRONG), tmp_path / "nginx") as ours:
        compare(WRONG, server, [at.plain for at in ours])


@pytest.mark.timeout(400)
def test_a_proxy_that_does_not_say_that_clients_come_over_tls_is_found(
    sim: Simulator, serve: Start, tmp_path: Path
) -> None:
    sim.add_account("only")
    server = serve(CODEXPROXY_TRUSTED_PROXIES="127.0.0.1/32")
    with sites_in_front_of(server.port, sites(WRONG_OVER_TLS), tmp_path / "nginx") as ours:
        doctor = trusting(server, tmp_path / "nginx/ca.pem", tmp_path / "authorities")
        compare(WRONG_OVER_TLS, doctor, [at.tls for at in ours])


@pytest.mark.parametrize("path", ["/backend-api/doctor", "/backend-api/doctor?events=1"])
def test_a_stranger_learns_nothing_there(serve: Start, path: str) -> None:
    answer = send(serve(), "GET", path)
    assert (answer.status, list(answer.json())) == (403, ["error"])
