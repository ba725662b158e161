"""Answers load balancers and supervisors: is the process alive, and should it get requests."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.models import EncryptionKeyFingerprint
from codexproxy.crypto import EncryptionKeyError, key_ring
from proxy.runtime import record_counts

_draining = False


def begin_drain() -> None:
    """From now on this process asks for no more requests; those that run go on."""
    global _draining
    _draining = True


def is_draining() -> bool:
    return _draining


@require_safe
@never_cache
def live(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


@require_safe
@never_cache
def ready(request: HttpRequest) -> JsonResponse:
    checks = {
        "database": _database(),
        "encryption_key": "unknown",
        "drain": "draining" if _draining else "ok",
    }
    if checks["database"] == "ok":
        checks["encryption_key"] = _encryption_key()
    is_ready = all(result == "ok" for result in checks.values())
    status = "ok" if is_ready else ("draining" if _draining else "unavailable")
    # Records that were lost are shown here, and do not make the process unready.
    answer = {"status": status, "checks": checks, "records": record_counts()}
    return JsonResponse(answer, status=200 if is_ready else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        # No reason is told: anybody may ask for this page.
        return "unavailable"
    return "ok"


def _encryption_key() -> str:
    try:
        known = EncryptionKeyFingerprint.objects.values_list("fingerprint", flat=True).first()
        return "ok" if known is None or known in key_ring().fingerprints else "wrong key"
    except EncryptionKeyError:
        return "malformed key"
    except DatabaseError:
        return "tables are missing"
