"""GET /metrics, for Prometheus: with its own token, or without one from this machine only."""

from __future__ import annotations

import hmac
import time
from collections.abc import Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from codexproxy import gate, locality
from proxy.figures import pool_window
from proxy.metrics import exposition
from proxy.runtime import pool_now, record_counts

_REFUSED = (
    "Metrics are for this machine, or for whoever shows the token of CODEXPROXY_METRICS_TOKEN as "
    "`Authorization: Bearer …`.\n"
)
_WINDOWS = ("primary", "secondary")


@require_safe
@never_cache
def page(request: HttpRequest) -> HttpResponse:
    if not _may_read(request):
        status = 401 if settings.METRICS_TOKEN else 403
        refused = HttpResponse(_REFUSED, status=status, content_type="text/plain; charset=utf-8")
        if status == 401:
            refused.headers["WWW-Authenticate"] = "Bearer"
        return refused
    return HttpResponse(exposition(PoolCollector()), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(
            shown.strip().encode("utf-8", "surrogatepass"), settings.METRICS_TOKEN.encode()
        )
    known = gate.facts(request)
    # SECURITY: a foreign page may be local by its address, under a name of its own.
    return locality.host_is_allowed(known.host, settings.NAMED_HOSTS) and gate.is_local(request)


class PoolCollector(Collector):
    """The accounts and the record writer, as the process that is asked knows them."""

    def collect(self) -> Iterator[Metric]:
        candidates, _ = pool_now("")
        now = time.time()
        accounts = GaugeMetricFamily("codexproxy_accounts", "Accounts by their state.", labels=["status"])
        statuses = [candidate.status for candidate in candidates]
        for status in sorted(set(statuses)):
            accounts.add_metric([status], statuses.count(status))
        yield accounts
        used = GaugeMetricFamily(
            "codexproxy_window_used_percent",
            "Percent used of each account's windows; nothing while it is unknown.",
            labels=["account", "window"],
        )
        for candidate in candidates:
            for name in _WINDOWS:
                window = getattr(candidate, name)
                percent = window.known_percent(now) if window else None
                if percent is not None:
                    used.add_metric([candidate.account_id, name], percent)
        yield used
        pool = GaugeMetricFamily(
            "codexproxy_pool_used_percent",
            "Percent used of the pool's windows, by capacity.",
            labels=["window"],
        )
        for name in _WINDOWS:
            found = pool_window(candidates, name, now)
            if found is not None:
                pool.add_metric([name], found.used_percent)
        yield pool
        yield GaugeMetricFamily(
            "codexproxy_records_waiting",
            "Request records that are not written yet.",
            value=record_counts()["pending"],
        )
