"""The page of prices."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from accounts import changes
from accounts.models import AuditEvent
from proxy.selectors import load_snapshot
from requestlogs.records import TokenCounts
from tests.codexproxy.browsing import browser
from usage.models import PriceOverride
from usage.price_services import price_add
from usage.selectors import price_book

pytestmark = pytest.mark.django_db

LIST = "/admin/usage/priceoverride/"
ADD = f"{LIST}add/"


def form(**fields: Any) -> dict[str, Any]:
    return {"model": "house-model", "tier": "standard", "input": "2", "cached": "", "output": "4", **fields}


def own(model: str = "house-model") -> PriceOverride:
    return price_add(model=model, tier="standard", input=Decimal(2), cached=None, output=Decimal(4))


def test_the_page_shows_what_holds_and_which_prices_are_the_operators() -> None:
    own()
    page = browser().get(LIST).content.decode()
    assert "<strong>2 / 2 / 4</strong>" in page
    assert "gpt-5.1" in page and "Set a price of your own" in page


def test_a_price_is_set_and_every_process_learns_of_it() -> None:
    before = changes.current_version()
    assert browser().post(ADD, form(model=" House-Model ")).status_code == 302
    row = next(row for row in price_book().table() if row.model == "house-model")
    assert (row.rates["standard"].input, row.own) == (Decimal(2), frozenset({"standard"}))
    assert AuditEvent.objects.filter(action="price_added").count() == 1
    assert changes.current_version() > before
    assert load_snapshot().prices.cost_usd("house-model", TokenCounts(1000, 0, 0)) == Decimal("0.002000")


def test_a_price_is_changed_and_removed() -> None:
    price = own()
    url = f"{LIST}{price.pk}/"
    assert browser().post(f"{url}change/", {"input": "3", "cached": "1", "output": "5"}).status_code == 302
    price.refresh_from_db()
    assert (price.input, price.cached, price.output) == (3, 1, 5)
    assert browser().post(f"{url}delete/", {"post": "yes"}).status_code == 302
    assert not PriceOverride.objects.exists()
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert {"price_changed", "price_removed"} <= actions


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input": "-1"}, "A price is not negative."),
        ({"output": "much"}, "Enter a number."),
        ({"cached": "NaN"}, "Enter a number."),
        ({"model": "two words"}, "A model&#x27;s name has no spaces."),
        ({"input": "1234567890"}, "no more than"),
        ({"model": "HOUSE-model"}, "already exists"),
    ],
)
def test_a_price_that_cannot_be_is_refused_beside_its_field(fields: dict[str, str], words: str) -> None:
    if "model" in fields and "HOUSE" in fields["model"]:
        own()
    count = PriceOverride.objects.count()
    page = browser().post(ADD, form(**fields)).content.decode()
    assert words in page
    assert next(iter(fields.values())) in page
    assert PriceOverride.objects.count() == count


def test_a_price_that_has_vanished_is_a_message() -> None:
    price = own()
    price.delete()
    response = browser().get(f"{LIST}{price.pk}/change/", follow=True)
    assert response.status_code == 200
    assert "Perhaps it was deleted?" in response.content.decode()
