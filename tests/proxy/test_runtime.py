"""What one process keeps running: it follows the settings."""

from __future__ import annotations

from functools import partial

import pytest

from accounts.models import Account, ConfigVersion
from codexproxy.db import DatabaseThread
from proxy.affinity import Ages
from proxy.runtime import Runtime, candidates_now, catch_up, runtime, stop_runtime
from proxy.settings_services import settings_update
from tests.builders import make_account


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


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_page_read_right_after_another_process_s_change_shows_it() -> None:
    operator = DatabaseThread("operator")

    def known() -> list[str]:
        return [candidate.status for candidate in candidates_now(())]

    def changed_elsewhere() -> list[str]:
        # Nothing tells this process of it: it would ask a second later.
        Account.objects.update(status=Account.Status.PAUSED)
        ConfigVersion.objects.update_or_create(pk=1, defaults={"version": 1000})
        catch_up()
        return known()

    await operator.run(make_account)
    await runtime()
    try:
        assert await operator.run(known) == ["active"]
        assert await operator.run(changed_elsewhere) == ["paused"]
    finally:
        await stop_runtime()
        operator.close()
