from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from proxy.dialects import checks
from proxy.errors import BadRequest


@pytest.mark.parametrize(
    ("check", "value"),
    [
        (checks.text, 5),
        (checks.name, " "),
        (checks.mapping, []),
        (checks.sequence, {}),
    ],
)
def test_a_wrong_value_is_named(check: Callable[[Any, str], Any], value: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        check(value, "some.param")
    assert caught.value.param == "some.param"
    assert caught.value.message.startswith("some.param: ")


def test_a_choice_says_what_is_known() -> None:
    with pytest.raises(BadRequest, match="'c' is not one of a, b"):
        checks.one_of("c", {"b", "a"}, "letter")


@pytest.mark.parametrize("value", [-1, True, "5"])
def test_a_number_that_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest):
        checks.not_negative({"max_tokens": value}, "max_tokens")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"a": "\xff"}', b'{"a":' * 9000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        checks.decoded_object(body)


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(BadRequest, match="nested too deeply"):
        checks.decoded_object(b'{"a":' * 9000 + b"1" + b"}" * 9000)
