from __future__ import annotations

import json
from typing import get_args

import pytest
from openai.types.shared import ReasoningEffort

from proxy.dialects.models import (
    bundled_models,
    catalogue_query,
    joined,
    openai_models,
    slugs,
    without_effort,
)


def test_a_catalogue_becomes_a_list_of_models() -> None:
    entry = {
        "slug": "gpt-5.5",
        "display_name": "GPT-5.5",
        "context_window": 272_000,
        "base_instructions": "long",
    }
    listed = openai_models(json.dumps({"models": [entry]}).encode())
    assert listed == {
        "gpt-5.5": {
            "id": "gpt-5.5",
            "object": "model",
            "created": 0,
            "owned_by": "codexproxy",
            "metadata": {"display_name": "GPT-5.5", "context_window": 272_000},
        }
    }


def test_what_the_api_may_not_use_is_left_out() -> None:
    hidden = [
        {"slug": "a", "supported_in_api": False},
        {"slug": "b", "visibility": "hide"},
        {"name": "c"},
        "d",
    ]
    assert openai_models(json.dumps({"models": hidden}).encode()) == {}


@pytest.mark.parametrize("catalogue", [b"", b"{", b"[]", b'{"models": 5}'])
def test_a_catalogue_that_cannot_be_read_lists_nothing(catalogue: bytes) -> None:
    assert openai_models(catalogue) == {}


def test_a_fresh_start_lists_models_without_a_catalogue() -> None:
    assert bundled_models()["gpt-5.5"]["object"] == "model"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("client_version=0.169.0", "client_version=0.169.0"),
        ("x=1&client_version=0.169.0-alpha.1", "client_version=0.169.0-alpha.1"),
        ("client_version=" + "9" * 41, ""),
        ("client_version=a%26b", ""),
        ("", ""),
    ],
)
def test_of_a_query_only_the_clients_version_goes_upstream(query: str, expected: str) -> None:
    assert catalogue_query(query) == expected


def test_each_effort_of_a_model_is_a_name_of_its_own() -> None:
    levels = [{"effort": "low"}, {"effort": "high"}, {"effort": "ludicrous"}, "x"]
    entries = [{"slug": "gpt-5.5", "supported_reasoning_levels": levels}, {"slug": "gpt-5.5-low"}]
    listed = openai_models(json.dumps({"models": entries}).encode())
    assert list(listed) == ["gpt-5.5", "gpt-5.5-high", "gpt-5.5-low"]
    assert listed["gpt-5.5-high"]["metadata"] == {"alias_of": "gpt-5.5", "reasoning_effort": "high"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5.5-high", ("gpt-5.5", "high")),
        ("gpt-5.5", ("gpt-5.5", None)),
        ("gpt-5.4-mini", ("gpt-5.4-mini", None)),
        ("gpt-5.4-mini-xhigh", ("gpt-5.4-mini", "xhigh")),
        ("gpt-5.5-max", ("gpt-5.5", "max")),
        ("named-max", ("named-max", None)),
        ("unknown-high", ("unknown-high", None)),
        ("named-high", ("named-high", None)),
        ("-high", ("-high", None)),
    ],
)
def test_a_name_may_have_an_effort_behind_it(model: str, expected: tuple[str, str | None]) -> None:
    assert without_effort(model, {"gpt-5.5", "gpt-5.4-mini", "named", "named-high", "named-max"}) == expected


@pytest.mark.parametrize("effort", [each for each in get_args(get_args(ReasoningEffort)[0]) if each])
def test_every_effort_that_openai_s_client_knows_is_one_that_a_name_may_carry(effort: str) -> None:
    catalogue = json.dumps({"models": [{"slug": "m", "supported_reasoning_levels": [{"effort": effort}]}]})
    assert list(openai_models(catalogue.encode())) == ["m", f"m-{effort}"]
    assert without_effort(f"m-{effort}", {"m"}) == ("m", effort)


def test_catalogues_are_joined_with_the_first_one_s_entries() -> None:
    first = json.dumps({"models": [{"slug": "a", "n": 1}], "more": 1}).encode()
    second = json.dumps({"models": [{"slug": "a", "n": 2}, {"slug": "b"}]}).encode()
    assert json.loads(joined([b"{", first, second])) == {
        "models": [{"slug": "a", "n": 1}, {"slug": "b"}],
        "more": 1,
    }
    assert slugs(second) == {"a", "b"}
