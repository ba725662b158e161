"""The JSON's own description: it names every route, and whatever it allows is answered without a fault."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as examples

import accounts.urls
import proxy.urls
import requestlogs.urls
from codexproxy import dashboard_auth
from tests.builders import make_account
from tests.codexproxy.browsing import browser, far_browser

pytestmark = pytest.mark.django_db

BASE = "http://localhost"
_PASSED = frozenset({"accept", "cookie"})


def answered(case: Any) -> Any:
    """By Django's own test client, whose requests stay in the test's transaction."""
    asked = requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()
    headers = {name: value for name, value in asked.headers.items() if name.lower() in _PASSED}
    body = asked.body or b""
    return browser(host="localhost").generic(
        str(asked.method),
        str(asked.url).removeprefix(BASE),
        body if isinstance(body, bytes) else body.encode(),
        content_type=asked.headers.get("Content-Type", "application/json"),
        headers=headers,
    )


def described() -> Any:
    return schemathesis.openapi.from_dict(SchemaGenerator().get_schema(public=True))


SCHEMA = described()
OPERATIONS = sorted((path, method) for path in SCHEMA for method in SCHEMA[path])


def test_this_machine_reads_the_description_and_a_stranger_does_not() -> None:
    found = browser().get("/api/schema/").json()
    assert set(found["paths"]) == {path for path, _ in OPERATIONS}
    assert far_browser().get("/api/schema/").status_code == 403


def test_every_route_is_described() -> None:
    modules = (accounts.urls, proxy.urls, requestlogs.urls, dashboard_auth)
    assert len({path for path, _ in OPERATIONS}) == sum(len(module.urlpatterns) for module in modules)


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: str(value))
def test_whatever_it_allows_is_answered_without_a_fault(path: str, method: str, settings: Any) -> None:
    # Nobody listens there: what would ask the sign-in service is told so.
    settings.AUTH_BASE_URL = settings.UPSTREAM_BASE_URL = "http://127.0.0.1:9"
    account = make_account("a")
    token = account.credential.access_token

    @examples(
        max_examples=6,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),
    )
    @given(case=SCHEMA[path][method].as_strategy())
    def check(case: Any) -> None:
        answer = answered(case)
        assert answer.status_code != 500, (case.body, case.query, answer.content)
        assert token.encode() not in answer.content or path.endswith("/export/auth")

    check()
