"""Where notices arrive in tests: a web server and a mail server on this machine, with real sockets."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from accounts.notices.mail import MailServer

SENDER, RECIPIENT = "proxy@example.com", "ops@example.com"


@dataclass
class WebReceiver:
    """`answers`: a status for each request to come, then 204; None is silence until the end."""

    url: str = ""
    answers: list[int | None] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


@contextmanager
def web_receiver() -> Iterator[WebReceiver]:
    received = WebReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received.requests.append((self.path, headers, body))
            status = received.answers.pop(0) if received.answers else 204
            if status is None:
                received.ended.wait(30)
                return
            self.send_response(status)
            for name, value in received.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, _serving(server):
        received.url = f"http://127.0.0.1:{server.server_port}/hook/s3cret-path"
        try:
            yield received
        finally:
            received.ended.set()


@dataclass
class MailReceiver:
    """`replies` takes the place of the answer to a command; None is silence until the end."""

    port: int = 0
    replies: dict[str, str | None] = field(default_factory=dict)
    certificate: ssl.SSLContext | None = None
    envelopes: list[tuple[str, list[str]]] = field(default_factory=list)
    letters: list[EmailMessage] = field(default_factory=list)
    sign_ins: list[tuple[str, str]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def server(self, **fields: Any) -> MailServer:
        values = {"security": "none", "username": "", "password": "", "host": "127.0.0.1", "port": self.port}
        return MailServer(**{**values, "sender": SENDER, "recipients": (RECIPIENT,), **fields})


class _MailHandler(socketserver.StreamRequestHandler):
    server: _MailServer

    def handle(self) -> None:
        self._sender, self._recipients = "", [""]
        if not self._say("220", "220 here"):
            return
        try:
            while line := self.rfile.readline():
                if not self._answer(line.decode().strip()):
                    return
        except OSError:
            # The client left in the middle of the handshake.
            return

    def finish(self) -> None:
        super().finish()
        # The server itself closes only the socket that it has accepted, not the encrypted one on it.
        self.request.close()

    def _say(self, command: str, reply: str) -> bool:
        said = self.server.received.replies.get(command, reply)
        if said is None:
            self.server.received.ended.wait(30)
            return False
        self.wfile.write(f"{said}\r\n".encode())
        return True

    def _answer(self, line: str) -> bool:
        command = line.split(" ")[0].split(":")[0].upper()
        answer = {
            "EHLO": self._greet,
            "STARTTLS": self._encrypt,
            "AUTH": self._sign_in,
            "DATA": self._take_letter,
            "QUIT": self._part,
        }.get(command)
        if answer is not None:
            return answer(line)
        if command == "MAIL":
            self._sender, self._recipients = line.split("<")[1].split(">")[0], []
        if command == "RCPT":
            self._recipients.append(line.split("<")[1].split(">")[0])
        return self._say(command, "250 ok")

    def _greet(self, line: str) -> bool:
        offers = ["250-STARTTLS"] if self.server.received.certificate else []
        return self._say("EHLO", "\r\n".join(["250-here", *offers, "250 AUTH PLAIN"]))

    def _encrypt(self, line: str) -> bool:
        assert self.server.received.certificate is not None
        self._say("STARTTLS", "220 go ahead")
        self.request = self.server.received.certificate.wrap_socket(self.request, server_side=True)
        self.setup()
        return True

    def _sign_in(self, line: str) -> bool:
        _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
        self.server.received.sign_ins.append((user, password))
        return self._say("AUTH", "235 welcome")

    def _take_letter(self, line: str) -> bool:
        self._say("GO", "354 go on")
        lines = []
        while (line_of_it := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line_of_it.removeprefix(b"."))
        self.server.received.envelopes.append((self._sender, self._recipients))
        letter = message_from_bytes(b"".join(lines), policy=policy.default)
        self.server.received.letters.append(letter)  # type: ignore[arg-type]
        return self._say("DATA", "250 taken")

    def _part(self, line: str) -> bool:
        self._say("QUIT", "221 bye")
        return False


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, received: MailReceiver) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.received = received


@contextmanager
def mail_receiver() -> Iterator[MailReceiver]:
    received = MailReceiver()
    with _MailServer(received) as server, _serving(server):
        received.port = server.server_address[1]
        try:
            yield received
        finally:
            received.ended.set()


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
