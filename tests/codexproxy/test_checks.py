"""The project's own system checks."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.core.management import call_command

from codexproxy.checks import check_connection_age, check_key_file


def test_the_shipped_settings_pass_every_check() -> None:
    assert run_checks() == []


@pytest.mark.parametrize("age", [60, None])
def test_persistent_connections_are_an_error(monkeypatch: pytest.MonkeyPatch, age: int | None) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "CONN_MAX_AGE", age)
    assert [message.id for message in check_connection_age(None)] == ["codexproxy.E001"]


def test_a_key_file_that_everybody_can_read_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    monkeypatch.setattr(settings, "ENCRYPTION_KEY_FILE", key)
    assert check_key_file(None) == []
    key.touch(0o600)
    assert check_key_file(None) == []
    key.chmod(0o644)
    assert [message.id for message in check_key_file(None)] == ["codexproxy.W001"]


def test_nothing_is_left_to_say_of_a_deployment() -> None:
    # What is silenced stands in the settings with its reason.
    call_command("check", deploy=True, fail_level="INFO")
