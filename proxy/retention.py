"""Deletes what is older than the settings say; sums and accounts stay."""

from __future__ import annotations

from datetime import datetime, timedelta

from accounts import audit
from accounts.notices.services import notices_forget
from accounts.operators.services import sign_ins_forget
from accounts.services import events_forget
from proxy import limits
from proxy.services import conversations_forget
from proxy.settings_services import settings_get
from requestlogs.services import records_trim
from usage.services import samples_trim


def trim(*, now: datetime) -> dict[str, int]:
    """Returns how many rows of each kind went."""
    settings = settings_get()
    before = now - timedelta(days=settings.retention_days)
    long_ago = now - timedelta(days=limits.AUDIT_DAYS)
    return {
        "records": records_trim(before=before),
        "samples": samples_trim(before=before),
        "conversations": conversations_forget(
            before=now - timedelta(days=settings.conversation_affinity_days)
        ),
        "audit": audit.forget(before=long_ago),
        "history": audit.history_forget(before=long_ago),
        "events": events_forget(before=long_ago),
        "notices": notices_forget(before=now - timedelta(days=limits.NOTICE_DAYS)),
        "sessions": sign_ins_forget(now=now),
    }
