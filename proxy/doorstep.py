"""At a request's headers: a large body is read only from who may send it.

A small one is not worth a second look: the way of the request judges it anyway, and it costs nothing to have
read it. What is refused here is on record like any other refusal.
"""

from __future__ import annotations

from datetime import UTC, datetime

from codexproxy.locality import facts_from_pairs, resolve_client
from codexproxy.request_id import incoming_request_id
from codexproxy.server_bodies import Heading, Refusal
from proxy import limits
from proxy.call import canonical, note
from proxy.errors import ProxyError
from proxy.metrics import metrics
from proxy.runtime import Runtime, running_runtime
from requestlogs.records import Record

# It belongs to one key, and asks for itself.
_OWN_ACCESS = "/v1/usage"


def refusal_before_body(heading: Heading) -> Refusal | None:
    """None lets the body be read. Called by the server for bodies over `limits.BODY_READ_UNSEEN`."""
    if not heading.path.startswith(limits.CLIENT_PATHS):
        return None
    running = running_runtime()
    if running is None or canonical(heading.path) == _OWN_ACCESS:
        return None
    return refused(heading, running)


def refused(heading: Heading, running: Runtime) -> Refusal | None:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in heading.headers]
    headers = dict(pairs)
    facts = facts_from_pairs(heading.peer or None, pairs)
    try:
        running.gatekeeper.admit(facts, headers, heading.path)
    except ProxyError as error:
        request_id = incoming_request_id(headers.get("x-request-id") or headers.get("request-id"))
        client = resolve_client(facts, running.gatekeeper.rules.trusted_proxies)
        record = Record(
            request_id,
            datetime.now(UTC),
            path=heading.path,
            client=headers.get("user-agent", ""),
            client_address=str(client or ""),
            status_code=error.status,
            latency_ms=0,
        )
        note(record, error)
        metrics().observe(record)
        running.writer.put(record)
        own = (b"x-request-id", request_id.encode("latin-1", "replace"))
        return Refusal(error.status, error.message, (own, *error.headers), error.body())
    return None
