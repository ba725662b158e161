from __future__ import annotations

import pytest

from proxy.outcomes import Effect, Step, UpstreamError, classify, hint_s, reset_of, status_for

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "error", "effect", "step"),
    [
        (429, {"type": "usage_limit_reached", "resets_at": NOW + 60}, Effect.RATE_LIMITED, Step.NEXT_ACCOUNT),
        (429, {"code": "RATE_LIMIT_EXCEEDED"}, Effect.RATE_LIMITED, Step.NEXT_ACCOUNT),
        (429, {}, Effect.RATE_LIMITED, Step.NEXT_ACCOUNT),
        (None, {"code": "usage_limit_reached"}, Effect.RATE_LIMITED, Step.NEXT_ACCOUNT),
        (429, {"code": "insufficient_quota"}, Effect.QUOTA_EXCEEDED, Step.NEXT_ACCOUNT),
        (403, {"code": "usage_not_included"}, Effect.QUOTA_EXCEEDED, Step.NEXT_ACCOUNT),
        (401, {"code": "invalid_api_key"}, Effect.TRANSIENT, Step.REFRESH_TOKEN),
        (401, {"code": "token_expired"}, Effect.TRANSIENT, Step.REFRESH_TOKEN),
        (401, {"message": "Unauthorized"}, Effect.TRANSIENT, Step.REFRESH_TOKEN),
        (403, {"code": "account_suspended"}, Effect.DEACTIVATED, Step.NEXT_ACCOUNT),
        (401, {"code": "account_deactivated"}, Effect.DEACTIVATED, Step.NEXT_ACCOUNT),
        (401, {"code": "app_session_terminated"}, Effect.SIGN_IN_NEEDED, Step.NEXT_ACCOUNT),
        (403, {"message": "<html>"}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (500, {}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (503, {"code": "server_is_overloaded"}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (302, {}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (None, {"code": "server_error"}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (None, {"message": "Selected model is at capacity."}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (None, {}, Effect.TRANSIENT, Step.NEXT_ACCOUNT),
        (400, {"message": "Unsupported parameter: foo"}, Effect.NONE, Step.SURFACE),
        (404, {"code": "model_not_found"}, Effect.NONE, Step.SURFACE),
        (None, {"code": "context_length_exceeded"}, Effect.NONE, Step.SURFACE),
        (400, {"code": "invalid_encrypted_content"}, Effect.NONE, Step.WITHOUT_REASONING),
        (
            400,
            {"code": None, "message": "The encrypted content for item rs_1 could not be verified."},
            Effect.NONE,
            Step.WITHOUT_REASONING,
        ),
    ],
)
def test_each_refusal_has_one_meaning(status: int | None, error: dict, effect: Effect, step: Step) -> None:
    outcome = classify(UpstreamError(status, error), NOW)
    assert (outcome.effect, outcome.step) == (effect, step)


def test_a_limit_for_one_model_is_none_of_the_account() -> None:
    error = UpstreamError(429, {"type": "usage_limit_reached", "resets_at": NOW + 60}, limit_id="codex_other")
    outcome = classify(error, NOW)
    assert (outcome.effect, outcome.step) == (Effect.MODEL_LIMITED, Step.NEXT_ACCOUNT)
    assert (outcome.limit_id, outcome.reset_at) == ("codex_other", NOW + 60)


def test_a_limit_carries_its_reset_and_a_quota_without_one_ends_in_an_hour() -> None:
    limited = classify(UpstreamError(429, {"type": "usage_limit_reached", "resets_at": NOW + 60}), NOW)
    without = classify(UpstreamError(429, {"code": "insufficient_quota"}), NOW)
    assert limited.reset_at == NOW + 60
    assert without.reset_at == NOW + 3600


def test_sign_in_refusals_cost_nothing_and_server_errors_count() -> None:
    assert not classify(UpstreamError(401, {}), NOW).counts_as_transient
    assert classify(UpstreamError(500, {}), NOW).counts_as_transient


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"resets_at": NOW + 5}, NOW + 5),
        ({"resets_at": str(NOW + 5)}, NOW + 5),
        ({"resets_in_seconds": 30}, NOW + 30),
        ({"message": "Please try again in 1.5s."}, NOW + 1.5),
        ({"resets_at": NOW - 5}, None),
        ({"resets_at": True}, None),
        ({"resets_at": "soon"}, None),
        ({"resets_at": 4_102_444_800}, NOW + 31 * 86_400),
        ({}, None),
    ],
)
def test_a_reset_is_taken_from_whatever_is_given_and_bounded(error: dict, expected: float | None) -> None:
    assert reset_of(error, NOW) == expected


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("try again in 1h2m3s", 3723.0),
        ("Try again in 500 ms", 0.5),
        ("try again in 2 minutes", 120.0),
        ("try again later", None),
        (None, None),
    ],
)
def test_hints_in_words_are_read(message: object, seconds: float | None) -> None:
    assert hint_s(message) == seconds


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"code": "no_accounts"}, 503),
        ({"code": "upstream_unavailable"}, 503),
        ({"code": "invalid_api_key"}, 401),
        ({"code": "insufficient_permissions"}, 403),
        ({"code": "not_found", "type": "invalid_request_error"}, 404),
        ({"code": "Insufficient_Quota"}, 429),
        ({"type": "usage_limit_reached"}, 429),
        ({"code": "whatever", "type": "invalid_request_error"}, 400),
        ({"code": "stream_incomplete", "type": "server_error"}, 502),
        ({}, 502),
    ],
)
def test_an_error_object_has_one_http_status(error: dict, status: int) -> None:
    assert status_for(error) == status
