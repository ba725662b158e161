"""The version, and who is told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import transaction

from accounts import changes
from accounts.models import ConfigVersion

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def calls() -> Iterator[list[int]]:
    seen: list[int] = []

    def listener() -> None:
        seen.append(changes.current_version())

    changes.subscribe(listener)
    yield seen
    changes.unsubscribe(listener)


def test_the_version_grows_from_nothing() -> None:
    assert changes.current_version() == 0
    first = changes.bump()
    assert changes.bump() == first + 1 == changes.current_version()
    assert ConfigVersion.objects.count() == 1


def test_listeners_are_called_after_the_commit(calls: list[int]) -> None:
    with transaction.atomic():
        version = changes.bump()
        assert calls == []
    assert calls == [version]


def test_nobody_is_told_of_what_was_rolled_back(calls: list[int]) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        changes.bump()
        raise RuntimeError
    assert calls == []
    assert changes.current_version() == 0


def test_a_listener_that_fails_harms_nobody(calls: list[int]) -> None:
    def broken() -> None:
        raise RuntimeError

    changes.subscribe(broken)
    try:
        version = changes.bump()
    finally:
        changes.unsubscribe(broken)
    assert calls == [version]


def test_who_unsubscribed_is_not_called(calls: list[int]) -> None:
    seen: list[str] = []

    def listener() -> None:
        seen.append("called")

    changes.subscribe(listener)
    changes.unsubscribe(listener)
    changes.unsubscribe(listener)
    changes.bump()
    assert (seen, len(calls)) == ([], 1)
