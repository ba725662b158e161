"""The catalogue of models, as Codex and as OpenAI's clients ask for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import msgspec

from proxy.call import Call, canonical
from proxy.catalogue import Catalogue
from proxy.dialects.models import (
    CATALOGUE_QUERY,
    bundled_models,
    catalogue_query,
    filtered_catalogue,
    openai_models,
)
from proxy.errors import ProxyError, Surfaced
from proxy.keys import KeyView
from proxy.sinks import JSON
from proxy.surface import NO_ACCOUNTS


async def codex_models(call: Call) -> None:
    """GET …/codex/models: upstream's catalogue, passed through whole, or as much as the client's key sees."""
    query = call.scope.get("query_string", b"").decode("latin-1")
    try:
        catalogue = _seen(call, await call.runtime.catalogue.get(catalogue_query(query)))
    except Surfaced as error:
        if error.code == NO_ACCOUNTS:
            # An error would be asked about again and again before the first turn. With an empty list Codex
            # keeps to its own, and the turn is told what is missing.
            await call.answer.whole(200, [JSON, (b"cache-control", b"no-cache")], b'{"models":[]}')
            return
        if call.access.accounts is None:
            raise
        # SECURITY: the reasons name all accounts, also those that are not this key's.
        raise ProxyError(
            503, NO_ACCOUNTS, "The models cannot be listed now: no account can be asked.", "server_error"
        ) from None
    etag = catalogue.etag
    headers = [JSON, (b"cache-control", b"no-cache"), *([(b"etag", etag.encode())] if etag else [])]
    if etag and call.headers.get("if-none-match") == etag:
        await call.answer.whole(304, [(b"etag", etag.encode())], b"")
    else:
        await call.answer.whole(200, headers, catalogue.body)


async def v1_models(call: Call) -> None:
    """GET /v1/models[/{id}]: the catalogue as OpenAI's clients know it."""
    if catalogue_query(call.scope.get("query_string", b"").decode("latin-1")):
        await codex_models(call)
        return
    try:
        listed = openai_models((await call.runtime.catalogue.get(CATALOGUE_QUERY)).body)
    except Surfaced:
        # No account yet, or none that can be asked: a client's start must not hang on it.
        listed = bundled_models()
    if (key := call.access.key) is not None:
        listed = {name: model for name, model in listed.items() if _is_listed(key, name, model["metadata"])}
    wanted = canonical(call.scope["path"]).removeprefix("/v1/models").lstrip("/")
    if wanted and wanted not in listed:
        raise ProxyError(404, "model_not_found", f"The model {wanted!r} does not exist.", param="model")
    whole = listed[wanted] if wanted else {"object": "list", "data": list(listed.values())}
    await call.answer.whole(200, [JSON], msgspec.json.encode(whole))


def _is_listed(key: KeyView, name: str, metadata: dict[str, Any]) -> bool:
    effort = metadata.get("reasoning_effort", "")
    return key.lists_model(metadata.get("alias_of", name)) and (not effort or key.allows_effort(effort))


def _seen(call: Call, catalogue: Catalogue) -> Catalogue:
    key = call.access.key
    if key is None or not (key.allowed_models or key.enforced_model):
        return catalogue
    body = filtered_catalogue(catalogue.body, key.lists_model)
    # Upstream's tag would say that nothing has changed when the key has.
    etag = catalogue.etag and f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    return replace(catalogue, body=body, etag=etag)
