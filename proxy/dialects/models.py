"""Pure: upstream's model catalogue as OpenAI's list of models."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import parse_qs

import msgspec

from proxy.keys import EFFORTS

# The catalogue is asked for as a recent Codex would: older ones are told of fewer models.
CATALOGUE_QUERY = "client_version=0.169.0"
OWNER = "codexproxy"
# What a fresh start lists until the first account can be asked.
_BUNDLED = (
    "gpt-5.6-sol",
    "gpt-5.6-terra",
    "gpt-5.6-luna",
    "gpt-5.5",
    "gpt-5.4",
    "gpt-5.4-mini",
    "gpt-5.3-codex",
    "gpt-5.2",
)
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


class _Entry(msgspec.Struct):
    slug: str = ""


def catalogue_query(query_string: str) -> str:
    """What of a client's query goes upstream: its version. Anything else would only fill the cache."""
    version = parse_qs(query_string).get("client_version", [""])[0]
    return f"client_version={version}" if _VERSION.fullmatch(version) else ""


def openai_models(catalogue: bytes) -> dict[str, dict[str, Any]]:
    """model id → its entry, in the catalogue's order, each followed by its aliases.

    Entries that the API may not use are left out.
    """
    offered = [entry for entry in _entries(catalogue) if _is_offered(entry)]
    listed = {entry["slug"]: _model(entry) for entry in offered}
    found: dict[str, dict[str, Any]] = {}
    for slug, model in listed.items():
        found[slug] = model
        found |= {alias["id"]: alias for alias in _aliases(model) if alias["id"] not in listed}
    return found


def slugs(catalogue: bytes) -> frozenset[str]:
    """The names of all models in a catalogue, offered or not."""
    return frozenset(entry["slug"] for entry in _entries(catalogue))


def joined(catalogues: list[bytes]) -> bytes:
    """The first catalogue with the models that only others list after its own."""
    entries: dict[str, dict[str, Any]] = {}
    for body in catalogues:
        for entry in _entries(body):
            entries.setdefault(entry["slug"], entry)
    whole = next((payload for body in catalogues if (payload := _payload(body))), {})
    return msgspec.json.encode({**whole, "models": list(entries.values())})


def without_effort(model: str, known: Collection[str]) -> tuple[str, str | None]:
    """A model and the reasoning effort that its name asks for: `gpt-5.5-high` is gpt-5.5 with high.

    A name that is known, or whose beginning is not, stays what it is.
    """
    base, _, effort = model.rpartition("-")
    if model in known or effort not in EFFORTS or base not in known:
        return model, None
    return base, effort


def _entries(catalogue: bytes) -> list[dict[str, Any]]:
    entries = _payload(catalogue).get("models")
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("slug"), str)]


def _payload(catalogue: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(catalogue)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}


def _aliases(model: dict[str, Any]) -> list[dict[str, Any]]:
    levels = model["metadata"].get("supported_reasoning_levels")
    efforts = [level.get("effort") for level in levels if isinstance(level, dict)] if levels else []
    return [
        {
            **model,
            "id": f"{model['id']}-{effort}",
            "metadata": {"alias_of": model["id"], "reasoning_effort": effort},
        }
        for effort in efforts
        if effort in EFFORTS
    ]


def filtered_catalogue(catalogue: bytes, is_listed: Callable[[str], bool]) -> bytes:
    """Upstream's catalogue with only some of its models, each as it came."""
    try:
        payload = msgspec.json.decode(catalogue, type=dict[str, msgspec.Raw])
        entries = msgspec.json.decode(payload["models"], type=list[msgspec.Raw])
        kept = [entry for entry in entries if is_listed(msgspec.json.decode(entry, type=_Entry).slug)]
    except (msgspec.MsgspecError, KeyError):
        # SECURITY: what cannot be read cannot be filtered.
        return b'{"models":[]}'
    return msgspec.json.encode({**payload, "models": kept})


def bundled_models() -> dict[str, dict[str, Any]]:
    """A list without a catalogue behind it: names only."""
    return {slug: _model({"slug": slug}) for slug in _BUNDLED}


def _is_offered(entry: dict[str, Any]) -> bool:
    return entry.get("supported_in_api") is not False and entry.get("visibility") != "hide"


def _model(entry: dict[str, Any]) -> dict[str, Any]:
    metadata = {
        name: entry[name]
        for name in (
            "display_name",
            "description",
            "context_window",
            "input_modalities",
            "default_reasoning_level",
            "supported_reasoning_levels",
        )
        if entry.get(name) is not None
    }
    # Upstream gives no date; a constant one keeps the list the same from call to call.
    return {"id": entry["slug"], "object": "model", "created": 0, "owned_by": OWNER, "metadata": metadata}
