from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts.changes import current_version
from accounts.groups import group_delete, group_save, members_of_groups
from accounts.models import Account, AccountGroup, AuditEvent
from tests.builders import make_account
from tests.codexproxy.browsing import browser

pytestmark = pytest.mark.django_db


def test_a_group_has_exactly_the_accounts_it_was_given_last() -> None:
    make_account("a")
    make_account("b")
    group = group_save(group=AccountGroup(name=" Team "), account_ids=["a"])
    group_save(group=group, account_ids=["b"])
    assert (group.name, members_of_groups()) == ("Team", {group.pk: frozenset({"b"})})


def test_every_process_learns_of_a_change_and_the_audit_log_has_it() -> None:
    make_account("a")
    before = current_version()
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a"])
    added = current_version()
    group_delete(group_id=group.pk)
    assert before < added < current_version()
    told = AuditEvent.objects.order_by("pk").values_list("action", "subject", "detail")
    assert list(told) == [("account_group_added", "Team", "a"), ("account_group_deleted", "Team", "")]


def test_two_groups_cannot_share_a_name() -> None:
    group_save(group=AccountGroup(name="Team"), account_ids=[])
    with pytest.raises(ValidationError, match="already exists"):
        group_save(group=AccountGroup(name="Team"), account_ids=[])


def test_deleting_a_group_leaves_its_accounts() -> None:
    make_account("a")
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a"])
    group_delete(group_id=group.pk)
    assert Account.objects.filter(pk="a").exists()
    assert members_of_groups() == {}


def test_marked_accounts_are_put_into_a_group_from_the_list() -> None:
    for name in "abc":
        make_account(name)
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a"])
    marked = {"action": f"into_group_{group.pk}", "_selected_action": ["b", "c"]}
    page = browser().post("/admin/accounts/account/", marked, follow=True).content.decode()
    assert "Put into the group Team: b@example.com, c@example.com" in page
    assert members_of_groups() == {group.pk: frozenset("abc")}


def test_marked_accounts_are_taken_out_of_the_group_that_the_list_shows() -> None:
    for name in "abc":
        make_account(name)
    group = group_save(group=AccountGroup(name="Team"), account_ids=["a", "b", "c"])
    client, action = browser(), f"out_of_group_{group.pk}"
    assert action not in client.get("/admin/accounts/account/").content.decode()
    shown = f"/admin/accounts/account/?groups__id__exact={group.pk}"
    page = client.post(shown, {"action": action, "_selected_action": ["b", "c"]}, follow=True)
    assert "Taken out of the group Team: b@example.com, c@example.com" in page.content.decode()
    assert members_of_groups() == {group.pk: frozenset("a")}
    assert AuditEvent.objects.filter(action="account_group_changed").latest("pk").detail == "a"
