"""The one settings row."""

from __future__ import annotations

import pytest
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import transaction

from proxy.models import Settings, Strategy
from proxy.settings_services import settings_get, settings_update

pytestmark = pytest.mark.django_db


def test_the_row_is_made_when_it_is_first_asked_for() -> None:
    Settings.objects.all().delete()
    assert settings_get().routing_strategy == Strategy.CAPACITY_WEIGHTED
    assert settings_get() == Settings.objects.get()


def test_losing_the_race_for_the_row_breaks_no_surrounding_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings_get()
    with transaction.atomic():
        # As if the other process had inserted between our look and our insert.
        monkeypatch.setattr(type(Settings.objects.all()), "first", lambda self: None)
        assert settings_get().pk == 1
        assert Settings.objects.count() == 1


def test_an_update_changes_only_the_named_fields() -> None:
    settings_update(retention_days=7)
    settings_update(prefer_earlier_reset=True)
    row = settings_get()
    assert (row.retention_days, row.prefer_earlier_reset) == (7, True)


def test_a_value_out_of_range_is_refused_and_nothing_is_stored() -> None:
    with pytest.raises(ValidationError):
        settings_update(retention_days=0)
    assert settings_get().retention_days == 30


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(FieldDoesNotExist):
        settings_update(retention=7)


def test_an_update_tells_the_other_processes() -> None:
    from accounts.changes import current_version

    before = current_version()
    settings_update(retention_days=8)
    assert current_version() > before
