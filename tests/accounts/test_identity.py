"""Ids and plans."""

from __future__ import annotations

import pytest

from accounts.identity import coerce_plan_type, local_account_ids, upstream_account_id, workspace_words
from accounts.models import Account


def ids(**given: str) -> list[str]:
    blank = {"chatgpt_account_id": "", "workspace": "", "email": "", "user_id": "", "seed": "seed"}
    return local_account_ids(**(blank | given))


def test_an_id_is_made_of_the_chatgpt_account_and_the_e_mail() -> None:
    assert ids(chatgpt_account_id="acc-1", email="ann@example.com") == ["acc-1_71d4f55f"]


def test_the_workspace_goes_before_the_e_mail() -> None:
    with_workspace = ids(chatgpt_account_id="acc-1", workspace="ws", email="ann@example.com")
    assert with_workspace == ["acc-1_50a66195", "acc-1_71d4f55f"]


def test_without_a_chatgpt_account_the_e_mail_tells() -> None:
    (only,) = ids(email="ann@example.com")
    assert only.startswith("email_71d4f55f") and len(only) == len("email_") + 12


def test_without_anything_the_id_is_local_and_the_same_for_the_same_file() -> None:
    assert ids() == ids()
    assert ids()[0].startswith("local_") and len(ids()[0]) == len("local_") + 12
    assert ids() != ids(seed="another")


@pytest.mark.parametrize(
    ("account_id", "upstream"),
    [("acc-1_08168cd8", "acc-1"), ("email_0123456789ab", None), ("local_0123456789ab", None)],
)
def test_only_a_real_account_is_named_upstream(account_id: str, upstream: str | None) -> None:
    assert upstream_account_id(account_id) == upstream
    row = Account(id=account_id, chatgpt_account_id="acc-1")
    assert upstream_account_id(row) == upstream


@pytest.mark.parametrize(
    ("plan", "written"),
    [
        ("PRO", "pro"),
        (" Plus ", "plus"),
        ("", "unknown"),
        ("  ", "unknown"),
        (None, "unknown"),
        ("education", "education"),
        (" FooPlan", "FooPlan"),
        ("EDU", "edu"),
    ],
)
def test_a_plan_is_written_in_one_way(plan: str | None, written: str) -> None:
    assert coerce_plan_type(plan) == written


@pytest.mark.parametrize(
    ("label", "workspace_id", "shares", "words"),
    [
        ("Laboratory", "ws-1", ["email"], "Laboratory"),
        ("Laboratory", "ws-1", ["email", "label"], "Laboratory (ws-1)"),
        ("Laboratory", "", ["email", "label"], "Laboratory (acc-56789012…)"),
        ("", "ws-1", [], "ws-1"),
        ("", "", [], "personal"),
        ("", "", ["email"], "acc-56789012…"),
        ("", "", ["email", "label"], "acc-56789012…"),
    ],
)
def test_a_workspace_has_a_name_that_tells_it_from_another(
    label: str, workspace_id: str, shares: list[str], words: str
) -> None:
    given = workspace_words(
        label=label,
        workspace_id=workspace_id,
        chatgpt_account_id="acc-567890123",
        shares_email="email" in shares,
        shares_label="label" in shares,
    )
    assert given == words
