"""What came from the prompt cache, and what a change of account has cost of it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from accounts.models import Account
from proxy.admin import cache_story
from proxy.models import StickySession
from requestlogs.prompt_cache import Switch, Turn, hit_rate, lost_tokens, lost_usd, switches
from requestlogs.records import AttemptRecord, Record, TokenCounts
from requestlogs.writer import records_store
from tests.builders import NOW, make_account
from tests.codexproxy.browsing import browser
from usage.models import CurrentWindow
from usage.pricing import PUBLISHED


def turn(account: str = "a", inputs: int = 1000, cached: int = 0, **fields: Any) -> Turn:
    return Turn(NOW, account, "gpt-5.1", inputs, cached, **fields)


def test_the_hit_rate_is_a_share_of_all_input() -> None:
    assert hit_rate([turn(inputs=1000, cached=0), turn(inputs=3000, cached=2000)]) == 0.5
    assert hit_rate([turn(inputs=10, cached=99)]) == 1.0
    assert hit_rate([]) is None


@pytest.mark.parametrize(
    ("before", "after", "cached", "lost"),
    [(1000, 1500, 0, 1000), (1000, 1500, 900, 100), (1000, 1500, 1400, 0), (9000, 500, 0, 500)],
)
def test_lost_is_what_both_have_in_common_and_the_cache_did_not_give(
    before: int, after: int, cached: int, lost: int
) -> None:
    assert lost_tokens(turn(inputs=before), turn(inputs=after, cached=cached)) == lost


def test_only_a_change_of_account_is_a_switch() -> None:
    found = switches([turn("a"), turn("a"), turn("b"), turn("b"), turn("a")])
    assert [(switch.from_account, switch.turn.account_id) for switch in found] == [("a", "b"), ("b", "a")]


def test_the_cause_is_the_refusal_or_the_reason_of_the_choice() -> None:
    refused = turn("b", attempts=({"account_id": "a", "outcome": "limit reached"},))
    passed = turn("b", routing={"passed_over": [{"account_id": "a", "reason": "paused by the operator"}]})
    neither = turn("b", routing={"passed_over": "nonsense"}, attempts=({"account_id": "c"},))
    causes = [switches([turn("a"), after])[0].cause for after in (refused, passed, neither)]
    assert causes == [
        "limit reached", "paused by the operator", "the conversation was not kept on its account"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("inputs", "lost", "cost"), [(120_000, 100_000, "0.225000"), (400_000, 200_000, "0.900000")]
)
def test_a_loss_costs_what_the_whole_request_s_price_says(inputs: int, lost: int, cost: str) -> None:
    after = Turn(NOW, "b", "gpt-5.4", inputs, 0)
    assert lost_usd(Switch(after, "a", "", lost), PUBLISHED) == Decimal(cost)
    assert lost_usd(Switch(Turn(NOW, "b", "unheard-of", 10, 0), "a", "", 5), PUBLISHED) is None


@pytest.fixture
def moved(db: None) -> None:
    StickySession.objects.create(key="talk", account_id="b")
    make_account("a", alias="Ann")
    make_account("b", alias="Bob")

    def stored(account: str, inputs: int, cached: int, *tries: AttemptRecord) -> Record:
        return Record(
            "rid", NOW, account_id=account, model="gpt-5.1", status="success", conversation="talk",
            tokens=TokenCounts(inputs, cached, 10), attempts=list(tries),
        )  # fmt: skip

    refused = AttemptRecord("a", 0, "limit reached")
    records_store([stored("a", 100_000, 80_000), stored("b", 120_000, 0, refused)])


@pytest.mark.usefixtures("moved")
def test_a_conversation_s_page_tells_what_its_move_has_cost() -> None:
    story = cache_story("talk")
    assert (story["turns"], story["hit_rate"]) == (2, 36)
    (switch,) = story["switches"]
    assert (switch["from"], switch["to"], switch["cause"], switch["tokens"]) == (
        "Ann", "Bob", "limit reached", 100_000
    )  # fmt: skip
    # 100,000 tokens at 1.25 instead of 0.125 dollars for a million.
    assert switch["cost"] == Decimal("0.112500")
    page = browser().get("/admin/proxy/stickysession/talk/change/").content.decode()
    assert "limit reached" in page and "$0.112500" in page


@pytest.mark.usefixtures("moved")
def test_an_account_without_another_name_is_called_by_its_e_mail() -> None:
    Account.objects.update(alias="")
    (switch,) = cache_story("talk")["switches"]
    assert (switch["from"], switch["to"]) == ("a@example.com", "b@example.com")


@pytest.mark.usefixtures("moved")
def test_an_account_s_page_tells_its_share_of_the_cache_and_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOW)
    CurrentWindow.objects.create(
        account=Account.objects.get(pk="a"), window="secondary", used_percent=80, window_minutes=10_080,
        reset_at=NOW.replace(day=NOW.day + 5), recorded_at=NOW,
    )  # fmt: skip
    page = browser().get("/admin/accounts/account/a/change/").content.decode()
    assert "80 % of its input of the last seven days came from the prompt cache" in page
    assert "The week is used faster than evenly: 51 % ahead." in page


@pytest.mark.django_db
def test_a_conversation_of_which_nothing_is_known_says_so() -> None:
    StickySession.objects.create(key="talk", account_id="b")
    page = browser().get("/admin/proxy/stickysession/talk/change/").content.decode()
    assert "No answered request of this conversation is on record." in page
