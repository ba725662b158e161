"""What one process keeps running: it follows the settings."""

from __future__ import annotations

from functools import partial

import pytest

from codexproxy.db import DatabaseThread
from proxy.affinity import Ages
from proxy.runtime import Runtime
from proxy.settings_services import settings_update


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_changed_settings_reach_conversations_and_upstream() -> None:
    runtime, operator = Runtime(), DatabaseThread("operator")
    await runtime.start()
    try:
        assert runtime.affinity.ages == Ages()
        change = partial(
            settings_update, conversation_affinity_days=2, derived_affinity_minutes=3, upstream_silence_s=40
        )
        await operator.run(change)
        await runtime.refresh_snapshot()
        assert runtime.affinity.ages == Ages(named_s=2 * 86400.0, derived_s=180.0)
        assert runtime.services.upstream.silence_s == 40.0  # type: ignore[attr-defined]
    finally:
        await runtime.stop()
        operator.close()
