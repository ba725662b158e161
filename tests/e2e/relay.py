"""A transparent relay that keeps every request body that passes, byte for byte."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_OWN = ("connection", "transfer-encoding", "content-length", "keep-alive")


@dataclass(slots=True)
class Relay:
    target: str
    base_url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


def _handler(relay: Relay) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            relay.paths.append(f"{self.command} {self.path}")
            if self.command == "POST":
                relay.bodies.append(body)
            with closing(http.client.HTTPConnection(urlsplit(relay.target).netloc, timeout=60)) as onward:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in _OWN}
                onward.request(self.command, self.path, body or None, headers)
                self._answer(onward.getresponse())

        do_GET = do_POST

        def _answer(self, response: http.client.HTTPResponse) -> None:
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while block := response.read1(65536):
                self.wfile.write(block)
                self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's own output is what counts."""

    return Handler


@contextmanager
def relaying(target: str) -> Iterator[Relay]:
    relay = Relay(target)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(relay))
    server.daemon_threads = True
    relay.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="relay", daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
