"""What the apps' admin classes are made of: Unfold's classes, read-only lists, and figures in words.

Only this module imports Unfold's admin, so that another theme means editing one file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.functional import cached_property
from unfold.admin import ModelAdmin as UnfoldModelAdmin
from unfold.admin import TabularInline as UnfoldTabularInline
from unfold.decorators import action as unfold_action
from unfold.decorators import display as unfold_display
from unfold.views import ChangeList as UnfoldChangeList
from unfold.widgets import (
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

__all__ = [
    "KeysetChangeList",
    "KeysetPaginator",
    "ModelAdmin",
    "PasswordInput",
    "ReadOnlyModelAdmin",
    "Switch",
    "TabularInline",
    "TextInput",
    "Textarea",
    "WindowView",
    "action",
    "display",
    "duration_words",
    "percent_meter",
    "status_badge",
    "time_cell",
    "window_view",
    "windows_of",
]

UNKNOWN = "–"

if TYPE_CHECKING:
    # Unfold has no types of its own; the classic admin's are the same where ours touch them.
    from django.contrib.admin import ModelAdmin as ClassicModelAdmin
    from django.contrib.admin import TabularInline as ClassicTabularInline
    from django.contrib.admin import action, display
    from django.contrib.admin.views.main import ChangeList
    from django.forms import CheckboxInput as Switch
    from django.forms import PasswordInput, Textarea, TextInput

    ModelAdmin = ClassicModelAdmin[Any]
    TabularInline = ClassicTabularInline[Any, Any]
else:
    ModelAdmin, TabularInline, ChangeList = UnfoldModelAdmin, UnfoldTabularInline, UnfoldChangeList
    action, display = unfold_action, unfold_display
    TextInput, Textarea = UnfoldAdminTextInputWidget, UnfoldAdminTextareaWidget
    PasswordInput, Switch = UnfoldAdminPasswordWidget, UnfoldBooleanSwitchWidget


class ReadOnlyModelAdmin(ModelAdmin):
    """Rows that only the program writes."""

    actions = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class KeysetPaginator(Paginator):  # type: ignore[type-arg]
    """Never counts: a COUNT over millions of rows takes seconds. The change list pages by id."""

    template_name = "ui/keyset_pagination.html"

    @cached_property
    def count(self) -> int:
        # Larger than any page, so that the change list asks for one page and not for every row.
        return 9_999_999_999


class KeysetChangeList(ChangeList):
    """Goes on from the last id that was shown (`?before=…`), however far down that is."""

    parameter = "before"

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # The count is made up: equal counts keep the page from showing it.
        self.full_result_count = self.result_count
        # What the search form carries along with its term.
        self.filter_params = {
            name: value for name, value in self.filter_params.items() if name != self.parameter
        }

    def get_query_string(
        self, new_params: dict[str, Any] | None = None, remove: Iterable[str] | None = None
    ) -> str:
        # Every other link (a filter, a search) begins at the newest row again.
        given = new_params or {}
        removed = [*(remove or []), *(() if self.parameter in given else (self.parameter,))]
        return str(super().get_query_string(given, removed))

    @property
    def older_url(self) -> str | None:
        rows = list(self.result_list)
        if len(rows) < self.list_per_page:
            return None
        return self.get_query_string({self.parameter: rows[-1].pk})

    @property
    def newest_url(self) -> str | None:
        return self.get_query_string() if self.parameter in self.params else None


class Window(Protocol):
    window: str
    used_percent: float
    reset_at: datetime | None


@dataclass(frozen=True, slots=True)
class WindowView:
    """One window as it is shown. `remaining_percent` is None while nothing current is known."""

    label: str
    remaining_percent: int | None
    text: str
    reset_text: str
    reset_at: datetime | None

    @property
    def value_text(self) -> str:
        return f"{self.text}, {self.reset_text}" if self.reset_text else self.text


def window_view(label: str, window: Window | None, now: datetime) -> WindowView:
    if window is None:
        return WindowView(label, None, UNKNOWN, "", None)
    if window.reset_at is not None and window.reset_at <= now:
        # What was used belongs to a window that is over: showing it as current would be wrong.
        return WindowView(label, None, UNKNOWN, "reset due, waiting for fresh data", window.reset_at)
    remaining = round(min(100.0, max(0.0, 100.0 - window.used_percent)))
    reset_text = f"resets in {duration_words(window.reset_at - now)}" if window.reset_at else ""
    return WindowView(label, remaining, f"{remaining} % left", reset_text, window.reset_at)


def windows_of(account: Any, now: datetime) -> list[WindowView]:
    """The 5-hour and the weekly window, and the monthly one where the plan has it."""
    known = {window.window: window for window in account.windows.all()}
    views = [
        window_view("5 hours", known.get("primary"), now),
        window_view("Week", known.get("secondary"), now),
    ]
    if "monthly" in known:
        views.append(window_view("Month", known["monthly"], now))
    return views


def duration_words(duration: timedelta) -> str:
    """To two units: 2 d 3 h, 2 h 14 min, 5 min, 40 s."""
    seconds = max(0, int(duration.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"


def percent_meter(view: WindowView) -> str:
    return render_to_string("ui/meter.html", {"view": view})


def status_badge(account: Any, now: datetime) -> str:
    return render_to_string(
        "ui/account_status.html", {"account": account, "until": until_words(account, now)}
    )


def until_words(account: Any, now: datetime) -> str:
    if not account.is_blocked_by_limit:
        return ""
    if account.reset_at is None:
        return "until a time that upstream did not name"
    if account.reset_at <= now:
        return "over; the next request tries it"
    return f"for another {duration_words(account.reset_at - now)}"


def time_cell(at: datetime | None, now: datetime) -> str:
    """A moment as its distance from now, with the full time behind it."""
    if at is None:
        return UNKNOWN
    words = f"{duration_words(now - at)} ago" if at <= now else f"in {duration_words(at - now)}"
    return render_to_string("ui/time.html", {"at": at, "words": words})
