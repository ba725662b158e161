"""Pure: whether two sign-ins are the same person in the same workspace."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.identity import UNKNOWN_EMAIL


@dataclass(frozen=True, slots=True)
class Seat:
    """Empty text means "not known"."""

    email: str
    user_id: str
    chatgpt_account_id: str
    workspace_id: str


def difference(known: Seat, found: Seat) -> str:
    """Why `found` is not `known`, in words; empty text when it is.

    An e-mail is never enough: one person has the same e-mail in each of their workspaces.
    """
    if _differ(known.user_id, found.user_id) or not _is_same_person(known, found):
        return f"It is the sign-in of another person: {found.email}, not {known.email}."
    if _differ(known.chatgpt_account_id, found.chatgpt_account_id) or _differ(
        known.workspace_id, found.workspace_id
    ):
        return f"{found.email} has signed in to another workspace than this account belongs to."
    if not (known.chatgpt_account_id or known.workspace_id) and found.chatgpt_account_id:
        return f"This account has no known workspace, so nothing but the e-mail {known.email} could tell."
    return ""


def _differ(known: str, found: str) -> bool:
    return bool(known and found and known != found)


def _is_same_person(known: Seat, found: Seat) -> bool:
    if known.user_id and found.user_id:
        return known.user_id == found.user_id
    if UNKNOWN_EMAIL in (known.email, found.email):
        return True
    return known.email.casefold() == found.email.casefold()
