"""Each code counts once, and nothing of it can be read in the database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections

from accounts.operators.models import RecoveryDevice, TotpDevice
from accounts.operators.selectors import operator
from tests.accounts.operators.totp import SECRET, code, device, enrol, wrong_code


@pytest.mark.django_db
def test_a_code_is_accepted_once() -> None:
    enrol()
    present = code()
    assert device().verify_token(present)
    assert not device().verify_token(present)


@pytest.mark.django_db
def test_an_older_code_is_refused_after_a_newer_one() -> None:
    enrol()
    assert device().verify_token(code(+1))
    assert not device().verify_token(code())


@pytest.mark.django_db
def test_a_wrong_code_is_refused_and_spends_nothing() -> None:
    enrol()
    assert not device().verify_token(wrong_code())
    assert device().last_step == -1


@pytest.mark.django_db
def test_the_secret_is_encrypted_at_rest() -> None:
    enrol()
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM operators_totpdevice")
        row = repr(cursor.fetchall())
    assert SECRET not in row
    assert device().secret == SECRET


@pytest.mark.django_db
def test_there_is_one_authenticator() -> None:
    enrol()
    with pytest.raises(IntegrityError):
        TotpDevice.objects.create(user=operator(), name="second", secret=SECRET)


@pytest.mark.django_db
def test_recovery_codes_are_stored_as_digests_and_each_counts_once() -> None:
    codes = enrol()
    with connection.cursor() as cursor:
        cursor.execute("SELECT token FROM otp_static_statictoken")
        stored = {token for (token,) in cursor.fetchall()}
    assert len(stored) == 10
    assert not stored & {code.replace("-", "") for code in codes}
    recovery = RecoveryDevice.objects.get()
    assert recovery.verify_token(codes[3])
    assert not recovery.verify_token(codes[3])
    assert recovery.token_set.count() == 9


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["code", "recovery code"])
def test_of_equal_codes_at_the_same_moment_exactly_one_is_accepted(kind: str) -> None:
    codes = enrol()
    given = code() if kind == "code" else codes[0]
    proof: TotpDevice | RecoveryDevice = device() if kind == "code" else RecoveryDevice.objects.get()
    tries = 8
    together = threading.Barrier(tries)

    def verify(number: int) -> bool:
        try:
            mine = type(proof).objects.get(pk=proof.pk)
            together.wait(10)
            return bool(mine.verify_token(given))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(tries) as pool:
        accepted = list(pool.map(verify, range(tries)))
    assert sum(accepted) == 1
