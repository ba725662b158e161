"""How the dashboard's JSON describes itself: /api/schema/, in the words of OpenAPI.

What is answered is described by the types that the views' own functions have (api_shapes.py of each app), so
that one place says it to the type checker, to clients and to the page in the dashboard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import resolve_type_hint
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema

View = TypeVar("View", bound=Callable[..., Any])
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Done(TypedDict):
    """That it was done."""

    status: str


class ApiSchema(AutoSchema):
    """Any object where a view says no more."""

    def get_request_serializer(self) -> Any:
        return OpenApiTypes.OBJECT if self.method in _WITH_BODY else None

    def get_response_serializers(self) -> Any:
        return OpenApiTypes.OBJECT

    def get_auth(self) -> list[Any]:
        # The gate decides before any view is asked.
        return []


def takes(*texts: str, **others: Any) -> Callable[[View], View]:
    """The fields of the body: texts, and others by their types. It stands above `api_view`."""
    kinds = {**dict.fromkeys(texts, str), **others}
    properties = {name: _schema(kind) for name, kind in kinds.items()}
    decorator: Callable[[View], View] = extend_schema(
        request={"application/json": {"type": "object", "properties": properties}}
    )
    return decorator


def gives(answer: Any, *, methods: Sequence[str] | None = None) -> Callable[[View], View]:
    """The answer's type: a TypedDict, or a list of them; None for one without a body. Above `api_view`."""
    answers = {204: None} if answer is None else {200: _schema(answer)}
    decorator: Callable[[View], View] = extend_schema(responses=answers, methods=methods)
    return decorator


def _schema(kind: Any) -> Any:
    return resolve_type_hint(kind)  # type: ignore[no-untyped-call]
