"""Pure: what an application is told of one HTTP request, read in one pass over its headers.

Daphne's own way goes over them three times, inside a generator of Twisted's, which is a measurable part of
what a short request costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

# What some take for the end of a line. Twisted itself refuses CR, LF and NUL, and names that are no tokens.
_FORBIDDEN = re.compile(rb"[\x0b\x0c\x1c\x1d\x1e\x85]")

CLIENT_PATHS = ("/backend-api", "/v1")
# Older Codex clients name their session with an underscore. Any other such name may be a disguise of one
# with a dash, as gateways of old take both for the same (CVE-2015-0219).
UNDERSCORED = frozenset({b"session_id", b"conversation_id"})
# SECURITY: Daphne would take a client's word for where this is mounted; see codexproxy/asgi.py.
_DROPPED = b"daphne-root-path"


class InvalidHeading(Exception):
    """A header that nobody may be handed. Its text is meant for the client."""


def http_scope(request: Any) -> dict[str, Any]:
    """Of a `twisted.web` request, whose request line Twisted has judged. Raises InvalidHeading."""
    target: bytes = request.uri
    path = unquote(request.path.decode("ascii"))
    peer, own = request.client, request.host
    has_address = hasattr(peer, "port")
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1" if request.clientproto == b"HTTP/1.1" else "1.0",
        "method": request.method.decode("ascii"),
        "path": path,
        "raw_path": request.path,
        "root_path": "",
        "scheme": "http",
        "query_string": target.partition(b"?")[2],
        "headers": list(_headers(request, path.startswith(CLIENT_PATHS))),
        "client": [peer.host, peer.port] if has_address else None,
        "server": [own.host, own.port] if has_address else None,
    }


def _headers(request: Any, is_client_path: bool) -> Iterator[tuple[bytes, bytes]]:
    for given, values in request.requestHeaders.getAllRawHeaders():
        name = given.lower()
        is_kept = name != _DROPPED and (b"_" not in name or (is_client_path and name in UNDERSCORED))
        for value in values:
            if _FORBIDDEN.search(value) is not None:
                raise InvalidHeading("Invalid header value")
            if is_kept:
                yield name, value
