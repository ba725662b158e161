"""Groups of accounts. Whoever is bound to one learns of its members with the next snapshot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from django.db import transaction

from accounts import audit, changes
from accounts.models import Account, AccountGroup


@transaction.atomic
def group_save(*, group: AccountGroup, account_ids: Iterable[str]) -> AccountGroup:
    """Add it or change it; exactly these accounts are in it afterwards. Raises ValidationError."""
    is_new = group.pk is None
    group.name = group.name.strip()
    group.full_clean()
    group.save()
    group.accounts.set(Account.objects.filter(pk__in=list(account_ids)))
    members = ", ".join(group.accounts.order_by("pk").values_list("pk", flat=True))
    action = "account_group_added" if is_new else "account_group_changed"
    audit.record(action, subject=group.name, detail=members)
    changes.bump()
    return group


@transaction.atomic
def group_add(*, group_id: int, account_ids: Iterable[str]) -> AccountGroup:
    """These accounts are in it too. Raises AccountGroup.DoesNotExist."""
    group = AccountGroup.objects.get(pk=group_id)
    group.accounts.add(*Account.objects.filter(pk__in=list(account_ids)))
    members = ", ".join(group.accounts.order_by("pk").values_list("pk", flat=True))
    audit.record("account_group_changed", subject=group.name, detail=members)
    changes.bump()
    return group


@transaction.atomic
def group_remove(*, group_id: int, account_ids: Iterable[str]) -> AccountGroup:
    """These accounts are no longer in it. Raises AccountGroup.DoesNotExist."""
    group = AccountGroup.objects.get(pk=group_id)
    group.accounts.remove(*Account.objects.filter(pk__in=list(account_ids)))
    members = ", ".join(group.accounts.order_by("pk").values_list("pk", flat=True))
    audit.record("account_group_changed", subject=group.name, detail=members)
    changes.bump()
    return group


@transaction.atomic
def group_delete(*, group_id: int) -> None:
    """Its accounts stay. Raises AccountGroup.DoesNotExist."""
    group = AccountGroup.objects.get(pk=group_id)
    audit.record("account_group_deleted", subject=group.name)
    group.delete()
    changes.bump()


def members_of_groups() -> dict[int, frozenset[str]]:
    """The accounts of every group, by the group's id."""
    members: dict[int, set[str]] = defaultdict(set)
    for group_id, account_id in AccountGroup.accounts.through.objects.values_list(
        "accountgroup_id", "account_id"
    ):
        members[group_id].add(account_id)
    return {group_id: frozenset(found) for group_id, found in members.items()}
