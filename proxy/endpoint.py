"""The data plane's HTTP entry: access, the way to a handler, and always one record."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable

from codexproxy.logging import request_id as logged_request_id
from proxy.answer import Send
from proxy.body import ClientGone, Receive
from proxy.call import Call, Scope, admit, canonical, note_gone, received, refuse
from proxy.client_usage import accounts_check, codex_usage, wham_usage
from proxy.compaction import codex_compact, v1_compact
from proxy.control import CONTROL_PATHS, codex_control
from proxy.errors import MethodNotAllowed, NotFound, ProxyError
from proxy.files import create_file, finish_file
from proxy.images import v1_image_edits, v1_image_generations
from proxy.listings import codex_models, v1_models
from proxy.metrics import metrics
from proxy.self_service import usage, usage_page
from proxy.transcription import codex_transcribe, v1_transcriptions
from proxy.turns import codex_responses, v1_chat_completions, v1_responses

logger = logging.getLogger(__name__)

Handler = Callable[[Call], Awaitable[None]]


async def proxy_http(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application of the client paths."""
    await answered(await received(scope, receive, send), _routed)


async def _routed(call: Call) -> None:
    # Codex looks for much that is its owner's own; that it is not here is nothing an operator asks about.
    call.is_recorded = not call.scope["path"].startswith("/backend-api")
    try:
        handler = route(call.scope["method"], call.scope["path"])
    except (NotFound, MethodNotAllowed):
        # SECURITY: the firewall covers whole prefixes; whom it refuses does not even learn what is here.
        if not call.scope["path"].startswith(_OUTSIDE_FIREWALL):
            call.runtime.gatekeeper.check_address(call.facts, call.record.path)
        raise
    call.is_recorded = handler in _RECORDED
    if handler not in _OWN_ACCESS:
        admit(call)
    await handler(call)


async def answered(call: Call, handler: Handler) -> None:
    """One call from its beginning to its end. Never raises for what a client or upstream does."""
    token = logged_request_id.set(call.record.request_id)
    metrics().open_requests.inc()
    try:
        await handler(call)
    except ProxyError as error:
        await refuse(call, error)
    except ClientGone:
        note_gone(call.record)
    except asyncio.CancelledError:
        note_gone(call.record)
        raise
    except Exception:  # noqa: BLE001 - the outer edge: a fault of ours must reach the client as an answer
        logger.exception("the request failed")
        call.record.error_code = "internal_error"
        await refuse(
            call, ProxyError(500, "internal_error", "codexproxy failed; see its log.", "server_error")
        )
    finally:
        call.answer.stop()
        logged_request_id.reset(token)
        metrics().open_requests.dec()
        if call.is_recorded:
            call.record.latency_ms = int(call.record.elapsed_ms())
            call.record.status_code = call.answer.status
            metrics().observe(call.record)
            call.runtime.writer.put(call.record)


def route(method: str, path: str) -> Handler:
    """Raises NotFound, and MethodNotAllowed with what is allowed."""
    path_only = canonical(path)
    known = _ROUTES.get(path_only)
    if known is None:
        named = (route for pattern, route in _WITH_IDS if pattern.fullmatch(path_only))
        known = _ROUTES.get(next(named, ""))
    if known is None:
        raise NotFound(path)
    if method not in known:
        raise MethodNotAllowed(method, ", ".join(known))
    return known[method]


_TURNS = frozenset({codex_responses, v1_responses, v1_chat_completions})
_RECORDED = _TURNS | {
    codex_compact,
    v1_compact,
    v1_image_generations,
    v1_image_edits,
    v1_transcriptions,
    codex_transcribe,
    create_file,
    finish_file,
    codex_control,
}

_WITH_IDS = (
    (re.compile(r"/v1/models/.+"), "/v1/models"),
    (re.compile(r"/backend-api/files/[^/]+/uploaded"), "/backend-api/files/{file_id}/uploaded"),
)

_OUTSIDE_FIREWALL = "/api/"

# They belong to one key, or have rules of their own, and ask for themselves.
_OWN_ACCESS = frozenset({usage, usage_page, codex_usage})

_ROUTES: dict[str, dict[str, Handler]] = {
    "/backend-api/codex/responses": {"POST": codex_responses},
    "/v1/responses": {"POST": v1_responses},
    "/backend-api/codex/responses/compact": {"POST": codex_compact},
    "/v1/responses/compact": {"POST": v1_compact},
    "/v1/chat/completions": {"POST": v1_chat_completions},
    "/v1/images/generations": {"POST": v1_image_generations},
    "/v1/images/edits": {"POST": v1_image_edits},
    "/backend-api/codex/images/generations": {"POST": v1_image_generations},
    "/backend-api/codex/images/edits": {"POST": v1_image_edits},
    "/v1/audio/transcriptions": {"POST": v1_transcriptions},
    "/backend-api/transcribe": {"POST": codex_transcribe},
    "/backend-api/files": {"POST": create_file},
    "/backend-api/files/{file_id}/uploaded": {"POST": finish_file},
    **{path: dict.fromkeys(methods, codex_control) for path, methods in CONTROL_PATHS.items()},
    "/backend-api/codex/models": {"GET": codex_models},
    "/v1/models": {"GET": v1_models},
    "/v1/usage": {"GET": usage, "POST": usage_page},
    "/api/codex/usage": {"GET": codex_usage},
    "/backend-api/wham/usage": {"GET": wham_usage},
    "/backend-api/wham/accounts/check": {"GET": accounts_check},
}
