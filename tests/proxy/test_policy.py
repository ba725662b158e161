from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.dialects.codex import CodexRequest, read_request
from proxy.dialects.frames import read_frame
from proxy.errors import AccessDenied
from proxy.keys import KeyView
from proxy.policy import permitted


def request(**fields: Any) -> CodexRequest:
    given = {"model": "gpt-5.5", "input": [], "store": False, "stream": True, **fields}
    return read_request(json.dumps(given).encode())


def body(request: CodexRequest) -> dict[str, Any]:
    found = json.loads(request.body)
    assert isinstance(found, dict)
    return found


def refused(key: KeyView, **fields: Any) -> AccessDenied:
    with pytest.raises(AccessDenied) as caught:
        permitted(request(**fields), key)
    return caught.value


def test_without_rules_a_request_stays_as_it_is() -> None:
    asked = request()
    assert permitted(asked, None) is asked
    assert permitted(asked, KeyView(1)) is asked


def test_a_model_that_is_not_allowed_is_refused_by_name() -> None:
    error = refused(KeyView(1, allowed_models=frozenset({"gpt-5.4"})))
    assert (error.status, error.code, error.type, error.param) == (
        403, "model_not_allowed", "permission_error", "model",
    )  # fmt: skip
    assert "does not have access to model 'gpt-5.5'" in error.message and "gpt-5.4" in error.message


def test_an_allowed_model_passes_unchanged() -> None:
    asked = request()
    assert permitted(asked, KeyView(1, allowed_models=frozenset({"gpt-5.5"}))) is asked


def test_an_enforced_model_takes_the_place_of_any() -> None:
    key = KeyView(1, enforced_model="gpt-5.4", allowed_models=frozenset({"gpt-5.4"}))
    found = permitted(request(other={"kept": [1, 2]}), key)
    assert found.model == body(found)["model"] == "gpt-5.4"
    assert body(found)["other"] == {"kept": [1, 2]}


@pytest.mark.parametrize("reasoning", [None, {}, {"effort": "high"}, "nonsense"])
def test_an_enforced_effort_is_set_whatever_was_asked(reasoning: Any) -> None:
    found = permitted(request(reasoning=reasoning), KeyView(1, enforced_effort="low"))
    assert found.reasoning_effort == body(found)["reasoning"]["effort"] == "low"


def test_the_rest_of_reasoning_is_kept() -> None:
    found = permitted(request(reasoning={"summary": "auto"}), KeyView(1, enforced_effort="low"))
    assert body(found)["reasoning"] == {"summary": "auto", "effort": "low"}


@pytest.mark.parametrize(
    ("enforced", "sent"), [("flex", "flex"), ("priority", "priority"), ("default", None)]
)
def test_an_enforced_tier(enforced: str, sent: str | None) -> None:
    found = permitted(request(service_tier="priority"), KeyView(1, enforced_tier=enforced))
    assert body(found).get("service_tier") == sent
    assert found.service_tier == (sent or "")


def test_an_effort_that_is_not_allowed_is_refused() -> None:
    key = KeyView(1, allowed_efforts=frozenset({"low", "medium"}))
    error = refused(key, reasoning={"effort": "high"})
    assert (error.status, error.code, error.param) == (
        403,
        "reasoning_effort_not_allowed",
        "reasoning.effort",
    )
    assert "low, medium" in error.message
    assert permitted(request(reasoning={"effort": "low"}), key).reasoning_effort == "low"
    assert permitted(request(), key).reasoning_effort is None


def test_a_tool_is_allowed_by_its_own_name_and_called_by_the_enforced_model() -> None:
    asked = replace(request(), known_as="gpt-image-2")
    key = KeyView(1, allowed_models=frozenset({"gpt-image-2"}), enforced_model="gpt-5.4")
    assert body(permitted(asked, key))["model"] == "gpt-5.4"
    with pytest.raises(AccessDenied) as caught:
        permitted(asked, KeyView(1, allowed_models=frozenset({"gpt-5.5"})))
    assert "'gpt-image-2'" in caught.value.message


@pytest.mark.parametrize(
    ("allowed", "sent"),
    [
        ({"low", "medium"}, None),
        ({"minimal", "low", "high"}, "low"),
        ({"high", "xhigh"}, "high"),
        ({"none"}, "none"),
        (set(), None),
    ],
)
def test_to_name_no_effort_is_no_way_to_one_that_is_not_allowed(allowed: set[str], sent: str | None) -> None:
    key = KeyView(1, allowed_efforts=frozenset(allowed))
    for reasoning in ({}, {"reasoning": None}, {"reasoning": {"summary": "auto"}}):
        found = permitted(request(**reasoning), key)
        assert found.reasoning_effort == sent
        assert (body(found).get("reasoning") or {}).get("effort") == sent


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"gpt-5.5","model":"gpt-5.4","store":false,"stream":true}',
        b'{"mod\\u0065l":"gpt-5.5","model":"gpt-5.4","store":false,"stream":true}',
        b'{"reasoning":{"effort":"high","effort":"low"},"model":"gpt-5.4","store":false,"stream":true}',
        b'{"reasoning":{"effort":"high"},"reasoning":{"effort":"low"},"model":"gpt-5.4","stream":true,"store":false}',
    ],
)
def test_what_was_judged_is_what_goes_out(raw: bytes) -> None:
    key = KeyView(1, allowed_models=frozenset({"gpt-5.4"}), allowed_efforts=frozenset({"low", "medium"}))
    found = permitted(read_request(raw), key)
    pairs: list[tuple[str, Any]] = []
    json.loads(found.body, object_pairs_hook=lambda read: pairs.extend(read) or dict(read))
    names = [name for name, _ in pairs]
    assert (names.count("model"), names.count("effort") <= 1) == (1, True)
    assert b"gpt-5.5" not in found.body and b"high" not in found.body


def test_a_frame_is_no_warm_up_for_one_reader_and_a_turn_for_the_other() -> None:
    fields = '"model":"gpt-5.5","store":false,"stream":true'
    frame = read_frame(f'{{"type":"response.create","generate":true,{fields},"generate":false}}'.encode())
    assert frame.is_warm_up
    found = permitted(frame.upstream, KeyView(1, has_limits=True))
    assert found.body.count(b'"generate"') == 1 and b'"generate":false' in found.body
