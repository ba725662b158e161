"""The overview's cards of the accounts: their windows, and whether the next request would go to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.urls import reverse

from accounts.buttons import button_context
from accounts.models import Account
from codexproxy.admin_base import duration_words, status_badge, windows_of
from proxy.explain import Verdict, explained
from proxy.models import Settings
from proxy.routing import Ask
from proxy.runtime import candidates_now, catch_up

# Enough to say "about 40 percent", for a page that is read again every ten seconds.
_DRAWS = 100


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a new conversation would go to this account now, in words."""

    level: str
    answer: str
    because: str
    until: datetime | None
    until_words: str
    in_flight: int


def account_cards(accounts: list[Account], settings: Settings, now: datetime) -> list[dict[str, Any]]:
    standings = _standings(accounts, settings, now)
    return [
        {
            "account": account,
            "url": reverse("admin:accounts_account_change", args=[quote(account.pk)]),
            "status": status_badge(account, now),
            "windows": windows_of(account, now),
            "standing": standings.get(account.pk),
            "buttons": button_context(account),
        }
        for account in accounts
    ]


def _standings(accounts: list[Account], settings: Settings, now: datetime) -> dict[str, Standing]:
    ask = Ask(strategy=settings.routing_strategy, prefer_earlier_reset=settings.prefer_earlier_reset)
    catch_up()
    found = explained(candidates_now(accounts), ask, now.timestamp(), draws=_DRAWS)
    return {verdict.candidate.account_id: standing(verdict, now) for verdict in found.verdicts}


def standing(verdict: Verdict, now: datetime) -> Standing:
    until = datetime.fromtimestamp(verdict.until, UTC) if verdict.until else None
    if not verdict.is_able:
        # The page ends the sentence itself.
        level, answer, because = "bad", "no", verdict.reason.rstrip(".")
    elif verdict.candidate.is_limited:
        level, answer, because = "good", "yes", "its limit is over; the next request tries it"
    elif verdict.share_percent >= 99.5:
        level, answer, because = "good", "yes", "it is the one that is chosen now"
    elif verdict.share_percent > 0:
        level, answer = "good", "yes"
        because = f"about {verdict.share_percent:.0f} % of new conversations go to it"
    else:
        level, answer, because = "quiet", "not yet", "it can serve, but others are chosen first"
    words = f"for another {duration_words(until - now)}" if until is not None else ""
    return Standing(level, answer, because, until, words, verdict.candidate.in_flight)
