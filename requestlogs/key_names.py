"""What API keys are called. They belong to an app above this one, which says so when it starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_source: Callable[[], Mapping[int, str]] = dict


def named_by(source: Callable[[], Mapping[int, str]]) -> None:
    global _source
    _source = source


def key_names() -> Mapping[int, str]:
    """The names of all keys by their ids."""
    return _source()
