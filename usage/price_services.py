"""Writes of the operator's prices. Every process learns of a change within two seconds."""

from __future__ import annotations

from decimal import Decimal

from django.db import IntegrityError, transaction

from accounts import audit, changes
from usage.models import PriceOverride


class PriceExists(Exception):
    """There is one for the model in this tier already."""


@transaction.atomic
def price_add(
    *, model: str, tier: str, input: Decimal, cached: Decimal | None, output: Decimal
) -> PriceOverride:
    """Raises ValidationError and PriceExists."""
    price = PriceOverride(model=model.strip().lower(), tier=tier, input=input, cached=cached, output=output)
    price.full_clean(validate_unique=False, validate_constraints=False)
    try:
        # RACE: two may add the same; the database lets one of them.
        with transaction.atomic():
            price.save(force_insert=True)
    except IntegrityError:
        raise PriceExists(str(price)) from None
    _note("price_added", price)
    return price


@transaction.atomic
def price_change(*, price_id: int, input: Decimal, cached: Decimal | None, output: Decimal) -> PriceOverride:
    """Raises PriceOverride.DoesNotExist and ValidationError."""
    price = PriceOverride.objects.get(pk=price_id)
    price.input, price.cached, price.output = input, cached, output
    price.full_clean()
    price.save(update_fields=["input", "cached", "output", "updated_at"])
    _note("price_changed", price)
    return price


@transaction.atomic
def price_remove(*, price_id: int) -> None:
    """The published price holds again. Raises PriceOverride.DoesNotExist."""
    price = PriceOverride.objects.get(pk=price_id)
    price.delete()
    _note("price_removed", price)


def _note(action: str, price: PriceOverride) -> None:
    cached = price.input if price.cached is None else price.cached
    detail = f"{price.input} / {cached} / {price.output} dollars for a million tokens"
    audit.record(action, subject=str(price), detail=detail)
    changes.bump()
