"""Pure: the model catalogue that the simulated upstream serves."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_EFFORTS = {
    "low": "Fast responses with lighter reasoning",
    "medium": "Balances speed and reasoning depth",
    "high": "Greater reasoning depth for complex problems",
}


def model_entry(slug: str, display_name: str, priority: int) -> dict[str, Any]:
    """One entry with every field that the Codex CLI insists on."""
    return {
        "slug": slug,
        "display_name": display_name,
        "description": f"{display_name}, simulated.",
        "default_reasoning_level": "medium",
        "supported_reasoning_levels": [
            {"effort": effort, "description": text} for effort, text in _EFFORTS.items()
        ],
        "shell_type": "shell_command",
        "visibility": "list",
        "supported_in_api": True,
        "priority": priority,
        "base_instructions": "You are a simulated coding agent.",
        "supports_reasoning_summaries": True,
        "support_verbosity": True,
        "default_verbosity": "low",
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "tokens", "limit": 10_000},
        "supports_parallel_tool_calls": True,
        "context_window": 272_000,
        "input_modalities": ["text", "image"],
        "experimental_supported_tools": [],
    }


def default_models() -> list[dict[str, Any]]:
    return [
        model_entry("gpt-5.5", "GPT-5.5", 0),
        model_entry("gpt-5.4-mini", "GPT-5.4 mini", 1),
        model_entry("gpt-5.1-codex", "GPT-5.1 Codex", 2),
    ]


def etag_of(models: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256(json.dumps(models, sort_keys=True).encode()).hexdigest()
    return f'W/"{digest[:32]}"'
