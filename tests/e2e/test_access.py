"""What may stand in the headers that decide who comes in: nothing breaks, and nothing is told."""

from __future__ import annotations

import re
import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.simulator import Simulator
from tests.e2e.conftest import Start
from tests.e2e.server import until
from tests.e2e.test_keys import api, ask_with, make_key

PATHS = (
    "GET /v1/models",
    "GET /v1/usage",
    "POST /v1/usage",
    "POST /v1/responses",
    "GET /backend-api/codex/models",
    "POST /backend-api/codex/responses",
    "POST /backend-api/codex/responses/compact",
    "POST /backend-api/files",
    "GET /backend-api/wham/usage",
    "GET /backend-api/wham/accounts/check",
    "GET /backend-api/doctor",
    "GET /api/codex/usage",
)
SOCKETS = ("/backend-api/codex/responses", "/v1/responses", "/backend-api/doctor", "/backend-api/else")
UPGRADE = (
    ("Connection", b"Upgrade"),
    ("Upgrade", b"websocket"),
    ("Sec-WebSocket-Version", b"13"),
    ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
)
# An address of this machine that is not on the list.
OUT = "127.9.9.9"
SHUT_OUT = b"Access denied for client IP"
HEADERS = ("Authorization", "X-Api-Key", "X-Forwarded-For", "Forwarded", "Host", "Origin", "Cookie")

# Whatever a line can hold.
raw = st.binary(max_size=40).map(lambda value: value.translate(None, b"\r\n\x00"))
value = st.one_of(
    raw,
    raw.map(lambda text: b"Bearer sk-cp-" + text),
    raw.map(lambda text: b"Bearer " + text),
    st.ip_addresses().map(lambda address: str(address).encode()),
)
lines = st.lists(st.tuples(st.sampled_from(HEADERS), value), max_size=6)
# Eight wrong keys in a minute hold up their address, and what comes after them would be judged no more.
sources = st.ip_addresses(network="127.0.0.0/8").map(str)


def test_no_header_breaks_it_or_makes_it_tell(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve(CODEXPROXY_TRUSTED_PROXIES="127.0.0.0/8")
    _, key = make_key(server)
    secrets = (key, account.email, sim.accounts["only"].access_token)
    seen = set()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        asked=st.one_of(st.sampled_from(PATHS), st.sampled_from(SOCKETS).map(lambda path: (path,))),
        headers=lines,
        source=sources,
    )
    def send_and_judge(asked: str | tuple[str], headers: list[tuple[str, bytes]], source: str) -> None:
        if isinstance(asked, str):
            answer = raw_answer(server.port, asked, headers, source)
        else:
            answer = raw_answer(server.port, f"GET {asked[0]}", [*headers, *UPGRADE], source)
        status = int(answer[9:12] or 0)
        seen.add(status)
        # Nothing at all is the server's answer to what is no HTTP.
        assert status in (0, 101, 200, 400, 401, 403, 404, 413, 503), answer
        if status != 200:
            assert not any(secret.encode() in answer for secret in secrets), answer

    send_and_judge()
    assert {101, 200, 401, 403} <= seen
    assert "Traceback" not in server.log
    assert ask_with(server, key).status == 200


def test_whom_the_firewall_shuts_out_learns_nothing_from_any_path(sim: Simulator, serve: Start) -> None:
    sim.add_account("only")
    server = serve()
    api(server, "POST", "/api/firewall/ips", {"ipAddress": "127.0.0.1"})
    until(lambda: SHUT_OUT in raw_answer(server.port, PATHS[0], [], OUT), 30, "the list holds")
    paths = [path for path in PATHS if path.partition(" ")[2] != "/api/codex/usage"]
    for path in (*paths, "GET /v1/nothing", "GET /backend-api/nothing", "DELETE /v1/models"):
        answer = raw_answer(server.port, path, [], OUT)
        assert answer.startswith(b"HTTP/1.1 403 ") and SHUT_OUT in answer, (path, answer)
    for path in SOCKETS:
        answer = raw_answer(server.port, f"GET {path}", [*UPGRADE], OUT)
        assert answer.startswith(b"HTTP/1.1 403 ") and SHUT_OUT in answer, (path, answer)
    asked = len(paths) + 3 + len(SOCKETS)
    counted = "SELECT address, count >= ? FROM proxy_firewallrefusal".replace("?", str(asked))
    until(lambda: server.query(counted) == [(OUT, 1)], 30, "the refusals are written")
    # The doctor shows a token, which counts for more than its address.
    found = server.manage("doctor", "--url", f"http://127.0.0.1:{server.port}").stdout
    assert f"http://127.0.0.1:{server.port} leads here" in found


def raw_answer(port: int, path: str, headers: list[tuple[str, bytes]], source: str) -> bytes:
    """To the end of the answer, or to the opening of a socket."""
    lines = [f"{path} HTTP/1.1".encode()]
    if not any(name == "Connection" for name, _ in headers):
        lines.append(b"Connection: close")
    if not any(name == "Host" for name, _ in headers):
        lines.append(b"Host: localhost")
    lines += [name.encode() + b": " + value for name, value in headers]
    if path.startswith("POST"):
        lines.append(b"Content-Length: 2")
    with socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0)) as client:
        client.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + (b"{}" if path.startswith("POST") else b""))
        answer = b""
        while not is_whole(answer) and (block := client.recv(65536)):
            answer += block
        return answer


def is_whole(answer: bytes) -> bool:
    """A refused upgrade may leave the connection open for the next request."""
    head, is_there, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    return bool(is_there) and (
        head.startswith(b"HTTP/1.1 101 ") or (length is not None and len(body) >= int(length[1]))
    )
