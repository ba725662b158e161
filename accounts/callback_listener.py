"""Takes the redirect at the end of a browser sign-in: a listener that is open only while one is awaited.

The process that begins a sign-in opens it, and whichever process has it serves the sign-ins of all: they are
told apart by their state. It closes by itself when none is awaited any more, so that other programs of this
machine that sign in the same way find the port free.
"""

from __future__ import annotations

import errno
import http.client
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, connections
from django.template.loader import render_to_string
from django.utils.crypto import salted_hmac

from accounts import audit, sign_in
from accounts.models import SignInFlow
from accounts.sign_in_protocol import CALLBACK_PATH, CallbackError, read_callback

# How long it takes at most to notice that nobody is awaited.
CHECK_EVERY_S = 0.5
REQUEST_TIMEOUT_S = 10.0
PROBE_TIMEOUT_S = 2.0
OWNER_PATH = "/auth/owner"
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    # The address holds the code.
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether a redirect will be heard; if not, `problem` says why and what to do instead."""

    problem: str = ""

    @property
    def is_open(self) -> bool:
        return not self.problem


class CallbackListener:
    """One for each process. Its work is done in a thread of its own, which ends with it."""

    def __init__(
        self,
        *,
        address: tuple[str, int],
        owner: str,
        receive: Callable[[str], Page],
        is_awaited: Callable[[], bool],
    ) -> None:
        self._address = address
        self._owner = owner
        self._receive = receive
        self._is_awaited = is_awaited
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def ensure_open(self) -> Opening:
        """To be called when a sign-in is stored already: otherwise it would close again at once."""
        with self._lock:
            if self._server is not None:
                return Opening()
            try:
                self._server = _server(self._address, self._owner, self._receive)
            except OSError as error:
                return self._not_bound(error)
            self._thread = threading.Thread(target=self._serve, args=(self._server,), name="sign-in callback")
            self._thread.daemon = True
            self._thread.start()
            return Opening()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it has closed."""
        if (thread := self._thread) is not None:
            thread.join(timeout_s)

    def _not_bound(self, error: OSError) -> Opening:
        host, port = self._address
        if error.errno != errno.EADDRINUSE:
            return Opening(f"{host}:{port} cannot be listened on: {error.strerror or error}.")
        if owner_of(self._address) == self._owner:
            return Opening()
        return Opening(
            f"Port {port} is used by another program, perhaps by a sign-in of Codex that still waits. "
            "Paste the address that the browser ends on, or end that program and start again."
        )

    def _serve(self, server: ThreadingHTTPServer) -> None:
        try:
            while self._goes_on(server):
                server.handle_request()
        finally:
            connections.close_all()

    def _goes_on(self, server: ThreadingHTTPServer) -> bool:
        with self._lock:
            try:
                if self._is_awaited():
                    return True
            except DatabaseError:
                logger.warning("whether a sign-in is awaited cannot be read now", exc_info=True)
                return True
            # Under the lock: whoever asks for it from here on opens it anew.
            server.server_close()
            self._server = None
            return False


@cache
def shared() -> CallbackListener:
    """This process's."""
    return CallbackListener(
        address=(settings.CALLBACK_HOST, settings.CALLBACK_PORT),
        # Tells other processes of this installation, and nobody else, that the port is in good hands.
        owner=salted_hmac("callback listener", "owner", algorithm="sha256").hexdigest(),
        receive=receive_redirect,
        is_awaited=sign_in.is_callback_awaited,
    )


def owner_of(address: tuple[str, int]) -> str:
    """What the program that listens there says of itself; empty when that is nothing we understand."""
    host, port = address
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host == "0.0.0.0" else host,  # noqa: S104 - compared, not bound
        port,
        timeout=PROBE_TIMEOUT_S,
    )
    try:
        connection.request("GET", OWNER_PATH)
        response = connection.getresponse()
        return response.read(200).decode("ascii", "replace") if response.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def receive_redirect(query: str) -> Page:
    """Finish the sign-in that the browser comes back from."""
    try:
        with audit.acting_as(audit.Actor("sign-in callback")):
            flow = sign_in.receive(read_callback(query))
    except (CallbackError, sign_in.CallbackRefused) as refusal:
        return Page(400, "Login failed", str(refusal))
    if flow.status == SignInFlow.Status.SUCCESS:
        return Page(200, "Signed in", "The account is stored. You may close this page.")
    if flow.status == SignInFlow.Status.UNCONFIRMED:
        return Page(
            200, "One question is left", f"{flow.message} The page that you came from asks what to do."
        )
    return Page(400, "Login failed", flow.message or "The sign-in is still being finished.")


def _server(address: tuple[str, int], owner: str, receive: Callable[[str], Page]) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        server_version = "codexproxy"
        sys_version = ""
        timeout = REQUEST_TIMEOUT_S

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == OWNER_PATH:
                return self._answer(200, owner.encode(), (("Content-Type", "text/plain"),))
            page = Page(404, "Not found", "Nothing but the end of a sign-in is here.")
            if parts.path == CALLBACK_PATH:
                page = _page(receive, parts.query)
            html = render_to_string("sign_in/callback.html", {"page": page})
            self._answer(page.status, html.encode(), HEADERS)

        def _answer(self, status: int, content: bytes, headers: tuple[tuple[str, str], ...]) -> None:
            self.send_response(status)
            for name, value in (*headers, ("Content-Length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """SECURITY: nothing, since the address holds the code."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        timeout = CHECK_EVERY_S

        def server_bind(self) -> None:
            # Without the parent's look-up of this machine's name, which may ask a name server.
            TCPServer.server_bind(self)

        def handle_error(self, request: object, client_address: object) -> None:
            logger.warning("a request to the callback listener broke off", exc_info=True)

    return Server(address, Handler)


def _page(receive: Callable[[str], Page], query: str) -> Page:
    try:
        return receive(query)
    except DatabaseError:
        logger.exception("a sign-in could not be finished")
        return Page(500, "Login failed", "The database cannot be used now. Start the sign-in again.")
    finally:
        connections.close_all()
