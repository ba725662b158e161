"""The dashboard's JSON on a page: every route of /api/schema/, what it takes and the fields of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from drf_spectacular.generators import SchemaGenerator

_JSON = "application/json"
_IN_THE_PATH = "path"


@dataclass(frozen=True, slots=True)
class Field:
    """One field; those within another are named with it: `accounts[].usage.primaryRemainingPercent`."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    words: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    answer: tuple[Field, ...]


def api_page(request: HttpRequest) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "JSON API", "routes": _own_routes()}
    return TemplateResponse(request, "admin/api.html", context)


@cache
def _own_routes() -> tuple[Route, ...]:
    """They are the same as long as the process runs."""
    return tuple(routes(SchemaGenerator().get_schema(public=True)))  # type: ignore[no-untyped-call]


def routes(schema: dict[str, Any]) -> Iterator[Route]:
    """Pure. What an OpenAPI description says, as rows."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"].values()
            yield Route(
                method=method.upper(),
                path=path,
                # The marks of code are for readers of the description itself.
                words=operation.get("description", "").replace("`", ""),
                parameters=tuple(_parameters(operation.get("parameters", []))),
                body=tuple(_content(operation.get("requestBody", {}), schema)),
                answer=tuple(field for answer in answers for field in _content(answer, schema)),
            )


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[Field]:
    for parameter in parameters:
        if parameter["in"] != _IN_THE_PATH:
            yield Field(parameter["name"], _kind(parameter["schema"]))


def _content(part: dict[str, Any], whole: dict[str, Any]) -> Iterator[Field]:
    if shape := part.get("content", {}).get(_JSON, {}).get("schema"):
        yield from _fields("", shape, whole)


def _fields(name: str, shape: dict[str, Any], whole: dict[str, Any]) -> Iterator[Field]:
    shape = _resolved(shape, whole)
    if "properties" in shape:
        for inner, part in shape["properties"].items():
            yield from _fields(f"{name}.{inner}" if name else inner, part, whole)
    elif shape.get("type") == "array" and "properties" in _resolved(shape["items"], whole):
        yield from _fields(f"{name}[]", shape["items"], whole)
    elif name:
        yield Field(name, _kind(shape))


def _resolved(shape: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A reference leads to a shape that has a name."""
    if "$ref" not in shape:
        return shape
    found: dict[str, Any] = whole["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
    return found


def _kind(shape: dict[str, Any]) -> str:
    words = shape.get("type", "any")
    if words == "array":
        words = f"list of {shape['items'].get('type', 'any')}"
    if "enum" in shape:
        words = ", ".join(str(choice) for choice in shape["enum"] if choice is not None)
    return f"{words} or null" if shape.get("nullable") else words
