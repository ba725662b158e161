"""Pure: what a simulated account can answer to one request, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 100
    cached_tokens: int = 0
    output_tokens: int = 9
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ok:
    """A turn that streams text and completes; also the pacing of every other streamed reply.

    `deltas` None streams the words of `text`; a number streams that many generated pieces, each padded to
    `delta_bytes`. `burst` events go out per write, `torn` cuts the writes into pieces of that many bytes.
    With `empty_output` the last event lacks the output, which only the items before it tell.
    `together`: over websockets a turn waits before its first event until so many like it have begun.
    A request that ends with a compaction trigger is answered with a compaction item instead of text, and one
    that must call image_generation with an image, unless `image` is off. With `done_marker` the stream says
    [DONE], also where it has not completed.
    """

    text: str = "Hello from the simulator."
    deltas: int | None = None
    delta_bytes: int = 0
    interval_s: float = 0.0
    first_byte_s: float = 0.0
    first_event_s: float = 0.0
    burst: int = 1
    together: int = 1
    torn: int = 0
    reasoning: bool = True
    image: bool = True
    preamble: bool = True
    rate_limits_event: bool = True
    done_marker: bool = False
    empty_output: bool = False
    usage: Usage = Usage()
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Calls a tool; once the request holds a tool's output, answers with `then`."""

    command: str = "echo marker-42"
    count: int = 1
    name: str = "exec_command"
    arguments: str | None = None
    then: Ok = Ok()


@dataclass(frozen=True, slots=True)
class FailEvent:
    """Fails inside a 200 stream: after the preamble, or after that many deltas."""

    error: Mapping[str, Any]
    after: int = 0
    kind: str = "response.failed"
    nested: bool = False
    stream: Ok = Ok()

    @classmethod
    def usage_limit(cls, resets_at: int | None = None, **rest: Any) -> FailEvent:
        error = {"code": "usage_limit_reached", "message": "The usage limit has been reached"}
        return cls(error | ({"resets_at": resets_at} if resets_at is not None else {}), **rest)

    @classmethod
    def server_error(cls, **rest: Any) -> FailEvent:
        return cls({"code": "server_error", "message": "The server had an error."}, **rest)

    @classmethod
    def rate_limited(cls, seconds: float = 1.5, **rest: Any) -> FailEvent:
        message = f"Rate limit reached. Please try again in {seconds}s."
        return cls({"code": "rate_limit_exceeded", "message": message}, **rest)

    @classmethod
    def context_length(cls, **rest: Any) -> FailEvent:
        message = "Your input exceeds the context window of this model."
        return cls({"code": "context_length_exceeded", "message": message}, **rest)

    @classmethod
    def overloaded(cls, **rest: Any) -> FailEvent:
        return cls({"code": "server_is_overloaded", "message": "Our servers are overloaded."}, **rest)


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Ends with response.incomplete."""

    reason: str = "max_output_tokens"
    stream: Ok = Ok()


@dataclass(frozen=True, slots=True)
class Cut:
    """Closes the connection inside the body; `reset` also throws away what was not read yet."""

    after: int = 1
    reset: bool = False
    stream: Ok = Ok()


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """A well-formed end of the body without the terminal event."""

    after: int = 1
    stream: Ok = Ok()


@dataclass(frozen=True, slots=True)
class Silence:
    """Holds the connection until the client leaves: before the headers, or after that many deltas."""

    after: int | None = None
    stream: Ok = Ok()


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Resets the connection before a single byte of the answer."""

    delay_s: float = 0.0


def _error(kind: str, message: str, code: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message, "code": code, "param": None} | rest}


@dataclass(frozen=True, slots=True)
class Fail:
    """An HTTP error. `body` is sent as JSON, or as it is when it is text; None is an empty body."""

    status: int
    body: Any = None
    headers: Headers = ()
    delay_s: float = 0.0
    content_type: str | None = field(default=None, kw_only=True)

    @classmethod
    def usage_limit(
        cls,
        resets_at: float | None = None,
        resets_in_seconds: int | None = None,
        plan: str = "plus",
        headers: Headers = (),
    ) -> Fail:
        error: dict[str, Any] = {
            "type": "usage_limit_reached",
            "message": "The usage limit has been reached",
            "plan_type": plan,
        }
        hints = {"resets_at": resets_at, "resets_in_seconds": resets_in_seconds}
        return cls(429, {"error": error | {k: v for k, v in hints.items() if v is not None}}, headers)

    @classmethod
    def insufficient_quota(cls) -> Fail:
        return cls(
            429, _error("insufficient_quota", "You exceeded your current quota.", "insufficient_quota")
        )

    @classmethod
    def rate_limited(cls, retry_after: int | None = None) -> Fail:
        headers = () if retry_after is None else (("retry-after", str(retry_after)),)
        return cls(429, _error("rate_limit_error", "Rate limit reached.", "rate_limit_exceeded"), headers)

    @classmethod
    def unauthorized(cls, code: str | None = None) -> Fail:
        if code is None:
            return cls(401, {"detail": "Unauthorized"})
        message = "Your authentication token has been invalidated. Please try signing in again."
        return cls(401, _error("invalid_request_error", message, code))

    @classmethod
    def forbidden_html(cls) -> Fail:
        page = "<html><head><title>Just a moment...</title></head><body>Enable JavaScript</body></html>"
        return cls(403, page, (("cf-mitigated", "challenge"),), content_type="text/html; charset=UTF-8")

    @classmethod
    def server_error(cls, status: int = 500) -> Fail:
        return cls(status, _error("server_error", "The server had an error.", "server_error"))

    @classmethod
    def overloaded(cls) -> Fail:
        message = "Our servers are currently overloaded. Please try again later."
        return cls(503, _error("service_unavailable_error", message, "server_is_overloaded"))

    @classmethod
    def empty(cls, status: int = 502) -> Fail:
        return cls(status)

    @classmethod
    def detail(cls, status: int = 400, text: str = "Bad request") -> Fail:
        return cls(status, {"detail": text})

    @classmethod
    def model_not_found(cls, model: str = "gpt-unknown") -> Fail:
        message = f"The model '{model}' does not exist or you do not have access to it."
        return cls(404, _error("invalid_request_error", message, "model_not_found"))


Reply = Ok | ToolCall | FailEvent | Incomplete | Cut | EndOfStream | Silence | Disconnect | Fail


@dataclass(frozen=True, slots=True)
class Refreshed:
    """The refresh works; the refresh token rotates."""

    expires_in_s: float = 3600.0
    id_token: bool = True
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RefreshRefused:
    """The refresh fails; the refresh token stays unspent."""

    status: int = 401
    code: str | None = None
    message: str = "Your refresh token could not be used."
    delay_s: float = 0.0

    @classmethod
    def reused(cls) -> RefreshRefused:
        return cls(401, "refresh_token_reused", "Your refresh token has already been used.")

    @classmethod
    def expired(cls) -> RefreshRefused:
        return cls(401, "refresh_token_expired", "Your refresh token has expired.")

    @classmethod
    def invalidated(cls) -> RefreshRefused:
        return cls(401, "refresh_token_invalidated", "Your refresh token was revoked.")

    @classmethod
    def server_error(cls, status: int = 500) -> RefreshRefused:
        return cls(status, None, "The server had an error.")


RefreshReply = Refreshed | RefreshRefused

# The one table of replies that can be written as JSON: {"kind": "ok", "text": "hi"}.
KINDS: dict[str, Callable[..., Reply]] = {
    "ok": Ok,
    "tool_call": ToolCall,
    "incomplete": Incomplete,
    "cut": Cut,
    "end_of_stream": EndOfStream,
    "silence": Silence,
    "disconnect": Disconnect,
    "fail_event": FailEvent,
    "fail_event_usage_limit": FailEvent.usage_limit,
    "fail_event_server_error": FailEvent.server_error,
    "fail_event_rate_limited": FailEvent.rate_limited,
    "fail_event_context_length": FailEvent.context_length,
    "fail_event_overloaded": FailEvent.overloaded,
    "fail": Fail,
    "usage_limit": Fail.usage_limit,
    "insufficient_quota": Fail.insufficient_quota,
    "rate_limited": Fail.rate_limited,
    "unauthorized": Fail.unauthorized,
    "forbidden_html": Fail.forbidden_html,
    "server_error": Fail.server_error,
    "overloaded": Fail.overloaded,
    "empty": Fail.empty,
    "detail": Fail.detail,
    "model_not_found": Fail.model_not_found,
}

REFRESH_KINDS: dict[str, Callable[..., RefreshReply]] = {
    "ok": Refreshed,
    "refused": RefreshRefused,
    "reused": RefreshRefused.reused,
    "expired": RefreshRefused.expired,
    "invalidated": RefreshRefused.invalidated,
    "server_error": RefreshRefused.server_error,
}


def _field(name: str, value: Any) -> Any:
    if name == "headers":
        pairs = value.items() if isinstance(value, dict) else value
        return tuple((key, str(text)) for key, text in pairs)
    if name in ("stream", "then") and isinstance(value, dict):
        return Ok(**{key: _field(key, inner) for key, inner in value.items() if key != "kind"})
    if name == "usage" and isinstance(value, dict):
        return Usage(**value)
    return value


def reply_from(spec: Mapping[str, Any]) -> Reply:
    """Raises KeyError for an unknown kind and TypeError for an unknown field."""
    fields = {name: _field(name, value) for name, value in spec.items() if name != "kind"}
    return KINDS[spec["kind"]](**fields)


def refresh_reply_from(spec: Mapping[str, Any]) -> RefreshReply:
    return REFRESH_KINDS[spec["kind"]](**{name: value for name, value in spec.items() if name != "kind"})
