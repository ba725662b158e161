"""What Prometheus reads, and who else may."""

from __future__ import annotations

import json
import re

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Account
from codexproxy.metrics_page import PoolCollector
from proxy.metrics import Metrics
from tests.builders import make_account
from tests.conftest import ROOT
from usage.models import CurrentWindow

pytestmark = pytest.mark.django_db

STRANGER = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture
def _token(settings: object) -> None:
    settings.METRICS_TOKEN = "a-token"  # type: ignore[attr-defined]


def make_reading(account: Account, window: str, used_percent: float) -> None:
    CurrentWindow.objects.create(
        account=account, window=window, used_percent=used_percent, recorded_at=timezone.now()
    )


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_this_machine_reads_the_pool() -> None:
    make_account("a")
    make_account("b", status="paused")
    response = Client(HTTP_HOST="localhost").get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    found = samples(response.content.decode())
    assert found["codexproxy_accounts", "active"] == 1
    assert found["codexproxy_accounts", "paused"] == 1
    assert found[("codexproxy_records_waiting",)] == 0


def test_use_is_told_by_account_and_for_the_pool_while_it_is_known() -> None:
    account = make_account("a")
    make_reading(account, "primary", used_percent=40)
    found = samples(Client(HTTP_HOST="localhost").get("/metrics").content.decode())
    assert found["codexproxy_window_used_percent", account.id, "primary"] == 40
    assert found["codexproxy_pool_used_percent", "primary"] == 40
    assert ("codexproxy_window_used_percent", account.id, "secondary") not in found


def test_a_stranger_reads_nothing() -> None:
    response = Client(**STRANGER).get("/metrics")
    assert response.status_code == 403
    assert b"CODEXPROXY_METRICS_TOKEN" in response.content
    assert b"codexproxy_accounts" not in response.content


def test_a_page_under_a_foreign_name_reads_nothing() -> None:
    assert Client(HTTP_HOST="rebound.example").get("/metrics").status_code == 403


@pytest.mark.usefixtures("_token")
def test_with_a_token_it_opens_for_everybody_who_has_it() -> None:
    assert Client(**STRANGER, HTTP_AUTHORIZATION="Bearer a-token").get("/metrics").status_code == 200


@pytest.mark.usefixtures("_token")
@pytest.mark.parametrize("shown", [{}, {"HTTP_AUTHORIZATION": "Bearer b"}, {"HTTP_AUTHORIZATION": "a-token"}])
def test_with_a_token_it_is_closed_for_this_machine_too(shown: dict[str, str]) -> None:
    response = Client(**shown).get("/metrics")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_every_figure_stands_in_the_reference_and_every_panel_shows_one() -> None:
    account = make_account("a")
    make_reading(account, "primary", used_percent=40)
    families = [*Metrics().registry.collect(), *PoolCollector().collect()]
    known = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    written = set(re.findall(r"^\| `(codexproxy_\w+)`", (ROOT / "docs/reference.md").read_text(), re.M))
    assert written == known
    dashboard = json.loads((ROOT / "docs/deployment/grafana.json").read_text())
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = {re.sub(r"_bucket$", "", name) for expr in panels for name in re.findall(r"codexproxy_\w+", expr)}
    assert shown <= known
    assert len(shown) >= 10
