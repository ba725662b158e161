"""What API keys are called."""

from __future__ import annotations

import pytest

from proxy.models import ApiKey
from requestlogs.key_names import key_names


@pytest.mark.django_db
def test_they_are_the_names_that_the_operator_gave() -> None:
    key = ApiKey.objects.create(name="laptop", key_hash="h", prefix="sk-cp-x")
    assert key_names() == {key.pk: "laptop"}
