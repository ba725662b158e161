from __future__ import annotations

import pytest

from codexproxy.api_page import Field, Route, routes
from tests.codexproxy.browsing import browser, far_browser

pytestmark = pytest.mark.django_db


def test_it_shows_every_route_with_its_fields() -> None:
    page = browser().get("/admin/api/").content.decode()
    described = browser().get("/api/schema/").json()["paths"]
    for path, methods in described.items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in page
    for field in (
        "accounts[].usage.primaryRemainingPercent",
        "lastSyncAt",
        "accounts[].capacityCreditsPrimary",
    ):
        assert f"<code>{field}</code>" in page


def test_it_leads_to_the_schema() -> None:
    assert 'href="/api/schema/"' in browser().get("/admin/api/").content.decode()


def test_a_stranger_sees_none_of_it() -> None:
    assert far_browser().get("/admin/api/").status_code == 403


def test_a_description_becomes_rows() -> None:
    point = {"type": "object", "properties": {"t": {"type": "string", "nullable": True}}}
    answer = {"points": {"type": "array", "items": point}, "mode": {"$ref": "#/components/schemas/Mode"}}
    schema = {
        "paths": {
            "/api/things/{id}": {
                "get": {
                    "description": "All `of` them.",
                    "parameters": [
                        {"in": "path", "name": "id", "schema": {"type": "string"}},
                        {
                            "in": "query",
                            "name": "model",
                            "schema": {"type": "array", "items": {"type": "string"}},
                        },
                    ],
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {"schema": {"type": "object", "properties": answer}}
                            }
                        }
                    },
                }
            }
        },
        "components": {"schemas": {"Mode": {"type": "string", "enum": ["one", "two"]}}},
    }
    assert list(routes(schema)) == [
        Route(
            method="GET",
            path="/api/things/{id}",
            words="All of them.",
            parameters=(Field("model", "list of string"),),
            body=(),
            answer=(Field("points[].t", "string or null"), Field("mode", "one, two")),
        )
    ]
