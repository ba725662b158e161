"""What may stand in the headers that decide who comes in: nothing breaks, and nothing is told."""

from __future__ import annotations

import socket

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.simulator import Simulator
from tests.e2e.conftest import Start
from tests.e2e.test_keys import ask_with, make_key

PATHS = (
    "GET /v1/models",
    "GET /v1/usage",
    "POST /v1/usage",
    "POST /v1/responses",
    "GET /backend-api/codex/models",
)
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


def test_no_header_breaks_it_or_makes_it_tell(sim: Simulator, serve: Start) -> None:
    account = sim.add_account("only")
    server = serve(CODEXPROXY_TRUSTED_PROXIES="127.0.0.1")
    _, key = make_key(server)
    secrets = (key, account.email, sim.accounts["only"].access_token)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(path=st.sampled_from(PATHS), headers=lines)
    def send_and_judge(path: str, headers: list[tuple[str, bytes]]) -> None:
        answer = raw_answer(server.port, path, headers)
        status = int(answer[9:12] or 0)
        # Nothing at all is the server's answer to what is no HTTP.
        assert status in (0, 200, 400, 401, 403, 413, 429, 503), answer
        if status != 200:
            assert not any(secret.encode() in answer for secret in secrets), answer

    send_and_judge()
    assert "Traceback" not in server.log
    assert ask_with(server, key).status == 200


def raw_answer(port: int, path: str, headers: list[tuple[str, bytes]]) -> bytes:
    lines = [f"{path} HTTP/1.1".encode(), b"Connection: close"]
    if not any(name == "Host" for name, _ in headers):
        lines.append(b"Host: localhost")
    lines += [name.encode() + b": " + value for name, value in headers]
    if path.startswith("POST"):
        lines.append(b"Content-Length: 2")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + (b"{}" if path.startswith("POST") else b""))
        answer = bytearray()
        while block := client.recv(65536):
            answer += block
        return bytes(answer)
