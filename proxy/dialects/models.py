"""Pure: upstream's model catalogue as OpenAI's list of models."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

import msgspec

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


def catalogue_query(query_string: str) -> str:
    """What of a client's query goes upstream: its version. Anything else would only fill the cache."""
    version = parse_qs(query_string).get("client_version", [""])[0]
    return f"client_version={version}" if _VERSION.fullmatch(version) else ""


def openai_models(catalogue: bytes) -> dict[str, dict[str, Any]]:
    """model id → its entry, in the catalogue's order; entries that the API may not use are left out."""
    try:
        payload = msgspec.json.decode(catalogue)
    except msgspec.MsgspecError:
        return {}
    entries = payload.get("models") if isinstance(payload, dict) else None
    if not isinstance(entries, list):
        return {}
    return {entry["slug"]: _model(entry) for entry in entries if _is_offered(entry)}


def bundled_models() -> dict[str, dict[str, Any]]:
    """A list without a catalogue behind it: names only."""
    return {slug: _model({"slug": slug}) for slug in _BUNDLED}


def _is_offered(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("slug"), str):
        return False
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
