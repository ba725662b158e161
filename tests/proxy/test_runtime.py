"""What one process keeps running: it follows the settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from cryptography.fernet import Fernet
from pytest_django import Settings as SettingsWrapper

from accounts import changes
from accounts.encryption_check import verify_key
from accounts.models import Account, ConfigVersion
from accounts.selectors import UNREADABLE
from codexproxy.crypto import EncryptionKeyError
from codexproxy.db import DatabaseThread
from proxy.affinity import Ages
from proxy.models import FirewallEntry
from proxy.runtime import Runtime, candidates_now, catch_up, runtime, stop_runtime
from proxy.settings_services import settings_update
from tests.builders import make_account, make_unreadable


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


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_process_does_not_start_under_another_key(settings: SettingsWrapper) -> None:
    operator = DatabaseThread("operator")
    await operator.run(verify_key)
    settings.ENCRYPTION_KEYS = Fernet.generate_key().decode()
    try:
        with pytest.raises(EncryptionKeyError, match="not the one that the stored tokens were written with"):
            await runtime()
    finally:
        await stop_runtime()
        operator.close()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_what_cannot_be_taken_over_does_not_keep_a_process_from_learning_what_comes_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    operator = DatabaseThread("operator")

    def broken() -> None:
        FirewallEntry.objects.create(network="no network")
        changes.bump()

    def mended() -> None:
        FirewallEntry.objects.all().delete()
        Account.objects.update(status=Account.Status.PAUSED)
        changes.bump()

    def statuses() -> list[str]:
        return [candidate.status for candidate in candidates_now(())]

    await operator.run(make_account)
    await runtime()
    try:
        await operator.run(broken)
        await _until(lambda: "what has changed cannot be taken over" in caplog.text)
        assert "Traceback" in caplog.text and statuses() == ["active"]
        await operator.run(mended)
        await _until(lambda: statuses() == ["paused"])
    finally:
        await stop_runtime()
        operator.close()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_tokens_that_cannot_be_read_take_out_their_account_alone() -> None:
    operator = DatabaseThread("operator")

    def accounts() -> None:
        make_account("acc-1_1")
        make_unreadable(make_account("acc-2_2"))

    await operator.run(accounts)
    running = await runtime()
    try:
        found = {candidate.account_id: candidate for candidate in running.pool.candidates()}
        assert found["acc-1_1"].status == "active"
        assert (found["acc-2_2"].status, found["acc-2_2"].reason) == ("reauth_required", UNREADABLE)
    finally:
        await stop_runtime()
        operator.close()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)
