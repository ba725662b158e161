"""Pure: which headers go on to upstream, and which come back."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.routing import Window
from requestlogs.records import Split

HeaderList = list[tuple[bytes, bytes]]

# SECURITY: what names the client, its network or its own sign-in stays here.
_DROPPED = frozenset(
    {
        # the connection's own (RFC 9110, 7.6.1) and what is set anew
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection",
        b"te", b"trailer", b"transfer-encoding", b"upgrade", b"host", b"expect",
        b"content-length", b"content-encoding", b"content-type", b"accept", b"accept-encoding", b"user-agent",
        # the client's sign-in
        b"authorization", b"x-api-key", b"api-key", b"cookie", b"chatgpt-account-id",
        # where the client is
        b"forwarded", b"via", b"x-real-ip", b"true-client-ip", b"x-client-ip", b"x-cluster-client-ip",
        b"x-original-host", b"x-original-forwarded-for", b"fastly-client-ip", b"fly-client-ip",
        b"origin", b"referer",
    }
)  # fmt: skip
_DROPPED_PREFIXES = (b"x-forwarded-", b"cf-", b"sec-fetch-", b"sec-websocket-", b"x-envoy-")

_OF_BODIES = frozenset({b"accept", b"accept-encoding", b"content-type"})
_OF_EVERY_REQUEST = _OF_BODIES | {b"user-agent", b"originator", b"version"}
_BETA = b"openai-beta"
_SOCKETS_BETA = b"responses_websockets"
# What upstream wants to see of a client that does not say it itself.
_SOCKETS_BETA_NOW = b"responses_websockets=2026-02-06"

# What comes back as upstream sent it.
_RETURNED = frozenset(
    {
        b"x-codex-turn-state", b"x-models-etag", b"openai-model", b"x-reasoning-included",
        b"x-request-id", b"x-oai-request-id", b"cf-ray", b"openai-processing-ms",
    }
)  # fmt: skip
OUR_USER_AGENT = b"codexproxy/0.1"


def forwarded(client_headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """The client's own headers as upstream may see them. Built once for a request."""
    listed: set[bytes] = set()
    user_agent = OUR_USER_AGENT
    passed: HeaderList = []
    for name, value in client_headers:
        if name == b"connection":
            listed = {part.strip().lower() for part in value.split(b",")}
        elif name == b"user-agent":
            user_agent = value
        if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES):
            passed.append((name, value))
    if listed:
        passed = [(name, value) for name, value in passed if name not in listed]
    passed += [
        (b"user-agent", user_agent),
        (b"accept", b"text/event-stream"),
        (b"accept-encoding", b"identity"),
        (b"content-type", b"application/json"),
    ]
    return passed


def for_handshake(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """What goes with the upgrade to a websocket, out of what would go with a request."""
    kept = [(name, value) for name, value in headers if name not in _OF_BODIES]
    if not any(name == _BETA and _SOCKETS_BETA in value for name, value in kept):
        kept.append((_BETA, _SOCKETS_BETA_NOW))
    return kept


def for_fallback(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """A socket's headers for a turn that goes over HTTP after all."""
    return [(name, value) for name, value in headers if not (name == _BETA and _SOCKETS_BETA in value)]


def signed(passed: HeaderList, token: str, account: str | None) -> HeaderList:
    """With an account's credentials; `account` is None where upstream knows no account id."""
    own = [(b"authorization", b"Bearer " + token.encode())]
    if account:
        own.append((b"chatgpt-account-id", account.encode()))
    return [*passed, *own]


def with_types(
    headers: Iterable[tuple[bytes, bytes]], content_type: bytes = b"application/json"
) -> HeaderList:
    """For a request whose answer is one JSON body."""
    kept = [(name, value) for name, value in headers if name not in (b"accept", b"content-type")]
    return [*kept, (b"accept", b"application/json"), (b"content-type", content_type)]


def minimal(headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """For what is no turn: who the client's program is, and nothing about a conversation."""
    return [
        (name, value)
        for name, value in headers
        if name in _OF_EVERY_REQUEST or name.startswith((b"x-openai-", b"x-codex-"))
    ]


def without(headers: HeaderList, name: bytes) -> HeaderList:
    return [(key, value) for key, value in headers if key != name]


def returned(upstream_headers: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """Upstream's headers as the client may see them; never a cookie, never one account's limits."""
    return [(name, value) for name, value in upstream_headers if name in _RETURNED]


def server_timing(split: Split) -> tuple[bytes, bytes]:
    """Where the time until the first byte went (W3C, "Server Timing"; milliseconds)."""
    named = ", ".join(f"{name};dur={ms:.2f}" for name, ms in split.named())
    return (b"server-timing", named.encode())


def pool_limits(primary: Window | None, secondary: Window | None) -> HeaderList:
    """The pool's figures in the form of the rate-limit headers."""
    found: HeaderList = []
    for name, window in ((b"primary", primary), (b"secondary", secondary)):
        if window is None:
            continue
        found.append((b"x-codex-%s-used-percent" % name, b"%.1f" % window.used_percent))
        if window.window_minutes is not None:
            found.append((b"x-codex-%s-window-minutes" % name, b"%d" % window.window_minutes))
        if window.reset_at is not None:
            found.append((b"x-codex-%s-reset-at" % name, b"%d" % window.reset_at))
    return found
