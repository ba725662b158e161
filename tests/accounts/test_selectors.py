"""What is read across accounts."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from accounts import selectors
from accounts.models import Account
from tests.builders import make_account, make_unreadable

pytestmark = pytest.mark.django_db


def test_the_pool_gets_accounts_with_their_credentials_in_one_query(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    make_account("b_1")
    make_account("a_1")
    Account.objects.create(id="bare", email="bare@example.com")
    with django_assert_num_queries(1):
        found = [(account.pk, account.credential.access_token) for account in selectors.accounts_for_pool()]
    assert found == [("a_1", "access-1-of-a_1"), ("b_1", "access-1-of-b_1")]


def test_people_get_all_accounts_by_e_mail() -> None:
    make_account("a_1", email="z@example.com")
    Account.objects.create(id="bare", email="b@example.com")
    assert [account.pk for account in selectors.accounts_list()] == ["bare", "a_1"]


def test_an_account_is_found_or_not() -> None:
    account = make_account()
    assert selectors.account_get(account.pk) == account
    with pytest.raises(Account.DoesNotExist):
        selectors.account_get("nobody")
    assert selectors.credential_get("nobody") is None


def test_only_accounts_that_can_serve_again_are_kept_signed_in() -> None:
    for status in Account.Status:
        make_account(f"{status}_1", status=status)
    kept = {credential.account_id for credential in selectors.credentials_in_use()}
    assert kept == {"active_1", "rate_limited_1", "quota_exceeded_1", "paused_1"}


def test_an_account_with_tokens_that_cannot_be_read_needs_a_sign_in_and_the_others_serve() -> None:
    make_account("a_1")
    make_unreadable(make_account("b_1"))
    make_unreadable(make_account("c_1", status=Account.Status.DEACTIVATED))
    found = selectors.accounts_for_pool()
    assert [(account.status, account.credential.access_token) for account in found] == [
        ("active", "access-1-of-a_1"),
        ("reauth_required", ""),
        ("deactivated", ""),
    ]
    assert found[1].status_reason == selectors.UNREADABLE
    assert [account.pk for account in selectors.accounts_list()] == ["a_1", "b_1", "c_1"]
    assert [account.pk for account in selectors.accounts_unreadable()] == ["b_1", "c_1"]
    assert Account.objects.get(pk="b_1").status == Account.Status.ACTIVE
