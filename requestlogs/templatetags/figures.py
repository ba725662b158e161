"""The sums of requests, for templates of apps that may not import this one."""

from __future__ import annotations

from django import template
from django.utils import timezone

from requestlogs.figures import WEEK, hours_since, totals

register = template.Library()


@register.simple_tag
def cached_percent(account_id: str) -> int | None:
    """Of an account's input in seven days, the percentage that came from the prompt cache."""
    share = totals(hours_since(timezone.now() - WEEK).filter(account_id=account_id)).cached_share
    return None if share is None else round(100 * share)


@register.filter
def grouped(number: int | None) -> str:
    """56,134; a dash for what is not known."""
    return "–" if number is None else f"{number:,}"
