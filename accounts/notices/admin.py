"""The pages of the notices: whom to tell what, and what was told."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from accounts.notices.delivery import NotSetUp, send_test
from accounts.notices.forms import SECRETS, NoticeSettingsForm, forget_name
from accounts.notices.models import Channel, Delivery, Notice, NoticeSettings
from accounts.notices.selectors import notice_settings_get
from accounts.notices.services import notice_settings_update
from codexproxy.admin_base import ModelAdmin, ReadOnlyModelAdmin, TabularInline, display, time_cell

_WEBHOOK = ("webhook_on", "webhook_url", "webhook_secret")
_EMAIL = (
    "email_on",
    "smtp_host",
    "smtp_port",
    "smtp_security",
    "smtp_username",
    "smtp_password",
    "email_from",
    "email_to",
)
_WHAT = (
    "tell_sign_in_needed",
    "tell_pool_exhausted",
    "tell_pool_low",
    "pool_low_percent",
    "tell_reset",
    "tell_new_address",
)


@admin.register(NoticeSettings)
class NoticeSettingsAdmin(ModelAdmin):
    form = NoticeSettingsForm
    change_form_outer_after_template = "admin/notices/test.html"

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return (
            (
                "Webhook",
                {
                    "fields": _with_boxes(obj, _WEBHOOK),
                    "description": "Nobody is told anything until a channel is on, and then nobody but its "
                    "address is contacted.",
                },
            ),
            ("E-mail", {"fields": _with_boxes(obj, _EMAIL)}),
            (
                "What is told",
                {"fields": _WHAT, "description": "Each event once, within about half a minute."},
            ),
        )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.test_view))
        urls: list[URLPattern] = super().get_urls()
        return [path("test/<slug:channel>/", view, name="notices_test"), *urls]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """There is one row, so the list is skipped."""
        return HttpResponseRedirect(_settings_url())

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        row = notice_settings_get()
        context = {
            "targets": [(channel, channel.label, row.target(channel)) for channel in Channel],
            "show_save_and_add_another": False,
        }
        hide = sensitive_post_parameters(*SECRETS)
        return hide(super().changeform_view)(
            request, object_id, form_url, {**context, **(extra_context or {})}
        )

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        fields = {field.name for field in NoticeSettings._meta.fields if field.editable}
        given = form.cleaned_data
        notice_settings_update(**{name: given[name] for name in given if name in fields})

    def test_view(self, request: HttpRequest, channel: str) -> HttpResponse:
        if channel not in Channel.values:
            raise Http404
        try:
            delivery = send_test(Channel(channel))
        except NotSetUp:
            self.message_user(request, "Enter where to send to first, and save it.", messages.WARNING)
        else:
            label = Channel(channel).label
            if delivery.status == Delivery.Status.SENT:
                self.message_user(request, f"The test by {label} has arrived.", messages.SUCCESS)
            else:
                words = f"The test by {label} did not arrive. {delivery.error}"
                self.message_user(request, words, messages.ERROR)
        return HttpResponseRedirect(_settings_url())


def _with_boxes(row: NoticeSettings | None, names: tuple[str, ...]) -> list[str]:
    """Behind each secret that there is the box that takes it away."""
    found = []
    for name in names:
        found.append(name)
        if name in SECRETS and row is not None and getattr(row, name):
            found.append(forget_name(name))
    return found


def _settings_url() -> str:
    return reverse("admin:notices_noticesettings_change", args=[notice_settings_get().pk])


class DeliveryInline(TabularInline):
    model = Delivery
    fields = ("channel", "target", "status", "attempts", "ended", "error")
    readonly_fields = fields
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="ended")
    def ended(self, delivery: Delivery) -> str:
        return time_cell(delivery.ended_at, timezone.now())


@admin.register(Notice)
class NoticeAdmin(ReadOnlyModelAdmin):
    list_display = ("moment", "kind", "title", "told")
    list_filter = ("kind", "deliveries__status")
    list_fullwidth = True
    search_fields = ("title", "text")
    ordering = ("-at", "-pk")
    change_list_template = "admin/notices/log.html"
    empty_title = "Nothing was told yet."
    empty_words = "Each notice is listed here, with whom it went to and whether it arrived."
    inlines = (DeliveryInline,)
    fields = ("moment", "kind", "title", "text", "account_name")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notice]:
        notices: QuerySet[Notice] = super().get_queryset(request)
        return notices.prefetch_related("deliveries")

    @display(description="at (UTC)", ordering="at")
    def moment(self, notice: Notice) -> str:
        return f"{notice.at:%Y-%m-%d %H:%M:%S}"

    @display(description="told")
    def told(self, notice: Notice) -> str:
        context = {"deliveries": notice.deliveries.all(), "now": timezone.now()}
        return render_to_string("admin/notices/told.html", context)
