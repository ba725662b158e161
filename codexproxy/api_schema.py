"""How the dashboard's JSON describes itself: /api/schema/, in the words of OpenAPI.

The answers' shapes stand in docs/reference.md and are held by tests; here is what can be asked, and with
which fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema

View = TypeVar("View", bound=Callable[..., Any])
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class ApiSchema(AutoSchema):
    """Any object where a view says no more."""

    def get_request_serializer(self) -> Any:
        return OpenApiTypes.OBJECT if self.method in _WITH_BODY else None

    def get_response_serializers(self) -> Any:
        return OpenApiTypes.OBJECT

    def get_auth(self) -> list[Any]:
        # The gate decides before any view is asked.
        return []


def takes(*texts: str, **others: str) -> Callable[[View], View]:
    """The fields of the body: texts, and others by their JSON types. It stands above `api_view`."""
    kinds = {**dict.fromkeys(texts, "string"), **others}
    properties = {name: {"type": kind} for name, kind in kinds.items()}
    decorator: Callable[[View], View] = extend_schema(
        request={"application/json": {"type": "object", "properties": properties}}
    )
    return decorator
