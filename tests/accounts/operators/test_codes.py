"""One-time codes and recovery codes."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from accounts.operators.codes import (
    RECOVERY_CODES,
    SecretError,
    code_at,
    grouped,
    matching_step,
    new_recovery_codes,
    new_secret,
    otpauth_uri,
    parse_secret,
    recovery_digest,
)

# The secret of RFC 6238's test vectors.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("now_s", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_it_makes_the_codes_of_the_rfc(now_s: int, code: str) -> None:
    assert code_at(SECRET, now_s // 30) == code
    assert matching_step(SECRET, code, now_s=now_s) == now_s // 30


@pytest.mark.parametrize(("steps", "is_right"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_off_by_one_step(steps: int, is_right: bool) -> None:
    code = code_at(SECRET, 1000 + steps)
    assert (matching_step(SECRET, code, now_s=30_000.0) is not None) is is_right


def test_a_step_that_is_spent_does_not_match() -> None:
    assert matching_step(SECRET, code_at(SECRET, 1000), now_s=30_000.0, after=1000) is None
    assert matching_step(SECRET, code_at(SECRET, 1001), now_s=30_000.0, after=1000) == 1001


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６", "-12345"])
def test_what_is_not_six_digits_never_matches(code: str) -> None:
    assert matching_step(SECRET, code, now_s=59.0) is None


def test_spaces_in_a_code_do_not_matter() -> None:
    assert matching_step(SECRET, " 287 082 ", now_s=59.0) == 1


def test_a_new_secret_has_twenty_bytes_and_is_a_new_one() -> None:
    secret = new_secret()
    assert parse_secret(secret) == secret
    assert len(secret) == 32
    assert secret != new_secret()


def test_a_secret_is_read_as_it_is_shown() -> None:
    assert parse_secret(grouped(SECRET).lower()) == SECRET


@pytest.mark.parametrize("text", ["", "no base32!", "GEZDGNBV", SECRET + SECRET, "ß" * 32])
def test_text_that_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(SecretError):
        parse_secret(text)


def test_the_address_for_the_authenticator_names_everything() -> None:
    uri = otpauth_uri(SECRET)
    assert uri.startswith("otpauth://totp/codexproxy%3Adashboard?")
    assert parse_qs(urlsplit(uri).query) == {
        "secret": [SECRET],
        "issuer": ["codexproxy"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }


def test_recovery_codes_differ_and_their_digests_do_not_tell_them() -> None:
    made = new_recovery_codes()
    assert len({*made}) == RECOVERY_CODES
    digests = {recovery_digest(code) for code in made}
    assert len(digests) == RECOVERY_CODES
    assert None not in digests
    assert not digests & {code.replace("-", "") for code in made}


def test_a_recovery_code_may_be_typed_without_its_dashes_and_in_capitals() -> None:
    code = new_recovery_codes()[0]
    assert recovery_digest(code.replace("-", " ").upper()) == recovery_digest(code)


@pytest.mark.parametrize("text", ["", "123456", "abcd-efgh-ijkl", "abcd-efgh-ijkl-mno1"])
def test_other_text_is_no_recovery_code(text: str) -> None:
    assert recovery_digest(text) is None
