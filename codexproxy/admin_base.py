"""What the apps' admin classes are made of: Unfold's classes, read-only lists, and figures in words.

Only this module imports Unfold's admin, so that another theme means editing one file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from django.core.paginator import Paginator
from django.db.models import Model
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.functional import cached_property
from django.utils.html import format_html
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
    "compact",
    "display",
    "duration_words",
    "moment",
    "percent_meter",
    "status_badge",
    "time_cell",
    "window_cell",
    "window_label",
    "window_view",
    "windows_of",
]

UNKNOWN = "–"
# Older figures are shown with their age. They are read every few minutes.
STALE_AFTER = timedelta(minutes=15)
# What a window is called while it has its usual length, in minutes.
_LABELS = {
    "primary": ("5 hours", range(300, 301)),
    "secondary": ("Week", range(10_080, 10_081)),
    "monthly": ("Month", range(28 * 1440, 31 * 1440 + 1)),
}

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
    window_minutes: int | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class WindowView:
    """One window as it is shown. `remaining_percent` is None while nothing current is known."""

    label: str
    remaining_percent: int | None
    text: str
    reset_text: str
    reset_at: datetime | None
    # Empty while the figure is fresh.
    age_text: str = ""

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
    age = now - window.recorded_at
    age_text = f"read {duration_words(age)} ago" if age > STALE_AFTER else ""
    return WindowView(label, remaining, f"{remaining} % left", reset_text, window.reset_at, age_text)


def window_label(name: str, minutes: int | None) -> str:
    """By the length that upstream tells."""
    label, usual = _LABELS[name]
    return label if minutes is None or minutes in usual else duration_words(timedelta(minutes=minutes))


def windows_of(account: Any, now: datetime) -> list[WindowView]:
    """The windows that its plan has. Nothing is known of an account without readings."""
    known = {window.window: window for window in account.windows.all()}
    names = [
        name
        for name in _LABELS
        if name in known
        or (name == "primary" and not known)
        or (name == "secondary" and "monthly" not in known)
    ]
    return [_named_view(name, known.get(name), now) for name in names]


def window_cell(account: Any, name: str, now: datetime) -> WindowView:
    """One window in a list: the month stands in the place of the week where a plan has only that."""
    known = {window.window: window for window in account.windows.all()}
    if name == "secondary" and name not in known and "monthly" in known:
        view = _named_view("monthly", known["monthly"], now)
        return replace(view, text=f"{view.text} of the {view.label.lower()}")
    if name == "primary" and known and name not in known:
        return WindowView(_LABELS[name][0], None, UNKNOWN, "not in its plan", None)
    return _named_view(name, known.get(name), now)


def _named_view(name: str, window: Window | None, now: datetime) -> WindowView:
    return window_view(window_label(name, window.window_minutes if window else None), window, now)


def duration_words(duration: timedelta) -> str:
    """To two units: 2 d 3 h, 2 h 14 min, 5 min, 40 s."""
    seconds = max(0, int(duration.total_seconds()))
    days, hours, minutes = seconds // 86400, seconds % 86400 // 3600, seconds % 3600 // 60
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min" if minutes else f"{seconds} s"


def compact(number: float) -> str:
    """1,234 and below as they are; 12.3 k, 4.5 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            return f"{number / {'G': 1e9, 'M': 1e6, 'k': 1e3}[unit]:.1f} {unit}"
    return f"{number:,.0f}"


def moment(at: datetime, *, seconds: bool = False) -> str:
    """A moment as such, in the browser's own time where it runs scripts."""
    form = "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
    return format_html(
        '<time class="cp-number" datetime="{}" data-local="{}">{} UTC</time>',
        at.isoformat(),
        "seconds" if seconds else "",
        at.astimezone(UTC).strftime(form),
    )


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
