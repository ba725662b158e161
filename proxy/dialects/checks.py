"""Pure: what every JSON request of an OpenAI client is checked for first. Each raises BadRequest."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

import msgspec

from proxy.errors import BadRequest


def wrong(param: str, message: str) -> NoReturn:
    raise BadRequest(f"{param}: {message}", param=param)


def decoded_object(body: bytes) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The request body is nested too deeply.") from None
    if not isinstance(payload, dict):
        raise BadRequest("The request body must be a JSON object.")
    return payload


def boolean(payload: Mapping[str, Any], name: str) -> bool:
    """False when it is not given."""
    value = payload.get(name)
    if value is not None and not isinstance(value, bool):
        wrong(name, "must be true or false.")
    return bool(value)


def not_negative(payload: Mapping[str, Any], name: str) -> None:
    value = payload.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        wrong(name, "must be a number that is not negative.")


def text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        wrong(param, "must be a text.")
    return value


def name(value: Any, param: str) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        wrong(param, "must be a text that is not empty.")
    return value


def mapping(value: Any, param: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        wrong(param, "must be an object.")
    return value


def sequence(value: Any, param: str) -> list[Any]:
    if not isinstance(value, list):
        wrong(param, "must be a list.")
    return value


def one_of(value: Any, known: Collection[str], param: str) -> str:
    if not isinstance(value, str) or value not in known:
        shown = repr(value) if isinstance(value, str) else "a value of another type"
        wrong(param, f"{shown[:80]} is not one of {', '.join(sorted(known))}.")
    return value
