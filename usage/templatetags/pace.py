"""The pace of a window, for templates of apps that may not import this one."""

from __future__ import annotations

from django import template
from django.utils import timezone

from accounts.models import Account
from usage.pace import Pace
from usage.selectors import weekly_pace

register = template.Library()


@register.simple_tag
def pace_of_week(account: Account) -> Pace | None:
    return weekly_pace(account, timezone.now())
