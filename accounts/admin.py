"""Accounts: their state and windows, and what an operator does with them. Credentials are never shown."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import Exists, F, OuterRef, QuerySet
from django.forms import CheckboxSelectMultiple, ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import content_disposition_header
from django.views.decorators.http import require_POST

from accounts import (
    auth_file,
    exporting,
    groups,
    log_admin,  # noqa: F401 - its pages are registered with these
    services,
    tokens,
)
from accounts.buttons import button_context
from accounts.identity import workspace_words
from accounts.models import Account, AccountEvent, AccountGroup
from accounts.sign_in_admin import SignInPages, or_begin_anew
from codexproxy.admin_base import (
    ModelAdmin,
    TabularInline,
    action,
    display,
    percent_meter,
    status_badge,
    time_cell,
    window_cell,
    windows_of,
)

GroupAction = Callable[[Any, HttpRequest, QuerySet[Account]], None]


class PlanFilter(admin.SimpleListFilter):
    title = "plan"
    parameter_name = "plan"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        plans = Account.objects.order_by("plan_type").values_list("plan_type", flat=True).distinct()
        return [(plan, plan) for plan in plans]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> QuerySet[Account]:
        return queryset.filter(plan_type=self.value()) if self.value() else queryset


class EventInline(TabularInline):
    model = AccountEvent
    fields = readonly_fields = ("at", "kind", "detail")
    ordering = ("-at",)
    verbose_name_plural = "What happened"
    per_page = 20
    extra = 0
    can_delete = False
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Account | None = None) -> bool:
        return False


@admin.register(Account)
class AccountAdmin(ModelAdmin):
    list_display: tuple[str, ...] = (
        "name",
        "workspace",
        "state",
        "five_hours",
        "week",
        "policy",
        "token_expiry",
        "buttons",
    )
    list_filter: ClassVar[tuple[Any, ...]] = ("status", PlanFilter, "groups")
    empty_title = "No accounts yet."
    empty_words = "Accounts are the ChatGPT sign-ins that requests are spread over."
    add_words = "Add account"
    search_fields = ("email", "alias")
    ordering = ("email", "id")
    list_fullwidth = True
    actions = (
        "pause_selected",
        "resume_selected",
        "refresh_selected",
        "burn_first_selected",
        "normal_selected",
        "preserve_selected",
    )
    inlines = (EventInline,)
    change_form_outer_before_template = "admin/accounts/account/toolbar.html"
    fieldsets = (
        (None, {"fields": ("alias", "email", "plan_type", "state", "windows")}),
        ("Routing", {"fields": ("routing_policy", "stop_at_percent", "in_groups")}),
        ("Identity", {"fields": ("workspace", "chatgpt_account_id", "chatgpt_user_id", "created_at")}),
        # SECURITY: what is known about the tokens; the tokens themselves are in no form and no list.
        (
            "Sign-in",
            {"fields": ("source", "generation", "rotation", "last_refresh", "token_expiry", "next_refresh")},
        ),
    )
    readonly_fields = (
        "in_groups",
        "email",
        "plan_type",
        "state",
        "windows",
        "workspace",
        "chatgpt_account_id",
        "chatgpt_user_id",
        "created_at",
        "source",
        "generation",
        "rotation",
        "last_refresh",
        "token_expiry",
        "next_refresh",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        accounts: QuerySet[Account] = super().get_queryset(request)
        same_email = Account.objects.filter(email=OuterRef("email")).exclude(pk=OuterRef("pk"))
        # Columns instead of select_related: loading a credential would decrypt its tokens.
        return accounts.prefetch_related("windows").annotate(
            token_source=F("credential__source"),
            token_rotated_at=F("credential__rotated_at"),
            shares_email=Exists(same_email),
            shares_label=Exists(same_email.filter(workspace_label=OuterRef("workspace_label"))),
            token_generation=F("credential__generation"),
            token_refreshed_at=F("credential__refreshed_at"),
            token_expires_at=F("credential__access_expires_at"),
        )

    @display(description="account", ordering="email")
    def name(self, account: Account) -> str:
        return render_to_string("admin/accounts/account/name.html", {"account": account})

    @display(description="workspace", ordering="workspace_label")
    def workspace(self, account: Account) -> str:
        return workspace_words(
            label=account.workspace_label,
            workspace_id=account.workspace_id,
            chatgpt_account_id=account.chatgpt_account_id,
            shares_email=bool(getattr(account, "shares_email", False)),
            shares_label=bool(getattr(account, "shares_label", False)),
        )

    @display(description="status", ordering="status")
    def state(self, account: Account) -> str:
        return status_badge(account, timezone.now())

    @display(description="5 hours")
    def five_hours(self, account: Account) -> str:
        return percent_meter(window_cell(account, "primary", timezone.now()))

    @display(description="week")
    def week(self, account: Account) -> str:
        return percent_meter(window_cell(account, "secondary", timezone.now()))

    @display(description="routing", ordering="routing_policy")
    def policy(self, account: Account) -> str:
        return render_to_string("admin/accounts/account/policy.html", {"account": account})

    @display(description="windows")
    def windows(self, account: Account) -> str:
        views = windows_of(account, timezone.now())
        return render_to_string("admin/accounts/account/windows.html", {"views": views, "account": account})

    @display(description="last refresh")
    def last_refresh(self, account: Account) -> str:
        return time_cell(getattr(account, "token_refreshed_at", None), timezone.now())

    @display(description="token ends")
    def token_expiry(self, account: Account) -> str:
        return time_cell(getattr(account, "token_expires_at", None), timezone.now())

    @display(description="last rotation here")
    def rotation(self, account: Account) -> str:
        return time_cell(getattr(account, "token_rotated_at", None), timezone.now())

    @display(description="next refresh")
    def next_refresh(self, account: Account) -> str:
        refreshed_at = getattr(account, "token_refreshed_at", None)
        if refreshed_at is None or account.status in (
            Account.Status.REAUTH_REQUIRED,
            Account.Status.DEACTIVATED,
        ):
            return "none until it is signed in again"
        expires_at = getattr(account, "token_expires_at", None)
        return time_cell(tokens.next_refresh_at(account.pk, expires_at, refreshed_at), timezone.now())

    @display(description="groups")
    def in_groups(self, account: Account) -> str:
        return ", ".join(group.name for group in account.groups.all()) or "–"

    @display(description="came from")
    def source(self, account: Account) -> str:
        source = getattr(account, "token_source", None)
        if not source:
            return "–"
        is_verified = getattr(account, "token_rotated_at", None) is not None
        return (
            str(source)
            if is_verified
            else f"{source}; its refresh token is not verified yet (Refresh token tries it)"
        )

    @display(description="generation")
    def generation(self, account: Account) -> str:
        return str(getattr(account, "token_generation", None) or "–")

    @display(description="actions")
    def buttons(self, account: Account) -> str:
        context = {**button_context(account), "probes": True}
        return render_to_string("admin/accounts/account/buttons.html", context)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(require_POST(self.act))
        export = self.admin_site.admin_view(self.export)
        own = [
            path("<path:object_id>/do/<slug:verb>/", view, name="accounts_account_do"),
            path("<path:object_id>/export/", export, name="accounts_account_export"),
        ]
        urls: list[URLPattern] = super().get_urls()
        return self._sign_in_pages.urls() + own + urls

    @property
    def _sign_in_pages(self) -> SignInPages:
        return SignInPages(self)

    def act(self, request: HttpRequest, object_id: str, verb: str) -> HttpResponse:
        """One button of one account.

        SECURITY: a POST with Django's token, since no web page of another site may press it in an open
        dashboard; Unfold's own row actions are links.
        """
        account = self.get_object(request, unquote(object_id))
        if verb not in _VERBS:
            raise Http404
        if account is None:
            return self._gone(request)
        self._act_on(request, [account], verb)
        if request.POST.get("stay") == "overview":
            return HttpResponseRedirect(reverse("admin:index"))
        if "stay" in request.POST:
            return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[quote(account.pk)]))
        return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))

    def _gone(self, request: HttpRequest) -> HttpResponse:
        self.message_user(request, "This account is gone.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:accounts_account_changelist"))

    def export(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks first; a POST is the answer, and downloads the file."""
        account = self.get_object(request, unquote(object_id))
        if account is None:
            return self._gone(request)
        shape = _SHAPES.get(request.POST.get("shape", ""))
        if request.method != "POST" or shape is None:
            context = {
                **self.admin_site.each_context(request),
                "title": "Export auth.json",
                "account": account,
            }
            return TemplateResponse(request, "admin/accounts/account/export.html", context)
        try:
            for_codex = request.POST["shape"] == "codex"
            auth = exporting.account_export(account_id=account.pk, for_codex=for_codex)
        except exporting.NothingToExport as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:accounts_account_change", args=[quote(account.pk)]))
        except exporting.NoIdToken as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:accounts_account_export", args=[quote(account.pk)]))
        return JsonResponse(
            shape(auth),
            json_dumps_params={"indent": 2},
            headers={
                "Cache-Control": "no-store",
                "Content-Disposition": content_disposition_header(True, f"auth-{account.pk}.json") or "",
            },
        )

    def _act_on(self, request: HttpRequest, accounts: list[Account], verb: str) -> None:
        done_words, do = _VERBS[verb]
        done = []
        for account in accounts:
            try:
                do(account)
            except (services.StateConflict, tokens.RefreshFailed, tokens.RefreshRefused) as error:
                self.message_user(request, f"{account.display_name}: {error}", messages.ERROR)
            except Account.DoesNotExist:
                self.message_user(request, f"{account.display_name} is gone.", messages.WARNING)
            else:
                done.append(account.display_name)
        if done:
            self.message_user(request, f"{done_words}: {', '.join(done)}", messages.SUCCESS)

    @action(description="Pause")
    def pause_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "pause")

    @action(description="Resume")
    def resume_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "resume")

    @action(description="Refresh token")
    def refresh_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "refresh")

    @action(description="Route: burn first")
    def burn_first_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "burn_first")

    @action(description="Route: normal")
    def normal_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "normal")

    @action(description="Route: preserve")
    def preserve_selected(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        self._act_on(request, list(queryset), "preserve")

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """And one for each group: the accounts that are marked are put into it, or out of the one shown."""
        actions: dict[str, Any] = super().get_actions(request)
        for group in AccountGroup.objects.order_by("name")[:_MOST_GROUP_ACTIONS]:
            name = f"into_group_{group.pk}"
            actions[name] = (_put_into(group), name, f"Put into the group {group.name}")
            if request.GET.get("groups__id__exact") == str(group.pk):
                name = f"out_of_group_{group.pk}"
                actions[name] = (_take_out_of(group), name, f"Take out of the group {group.name}")
        return actions

    def save_model(self, request: HttpRequest, obj: Account, form: ModelForm[Any], change: bool) -> None:
        given = form.cleaned_data
        if "alias" in form.changed_data:
            services.account_rename(account_id=obj.pk, alias=given["alias"])
        services.account_route(
            account_id=obj.pk, policy=given["routing_policy"], stop_at_percent=given["stop_at_percent"]
        )

    def delete_model(self, request: HttpRequest, obj: Account) -> None:
        services.account_delete(account_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        for account_id in list(queryset.values_list("pk", flat=True)):
            services.account_delete(account_id=account_id)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[str], dict[str, int], set[str], list[str]]:
        """Without the collector: it would list thousands of usage samples, and decrypt the credentials."""
        names = [f"{account.display_name}, its sign-in and its usage history" for account in objs]
        return names, {"accounts": len(names)}, set(), []

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        account = self.get_object(request, unquote(object_id))
        context = {**(extra_context or {}), **(button_context(account) if account else {})}
        context["show_save_and_add_another"] = False
        return super().change_view(request, object_id, form_url, context)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return or_begin_anew(self._sign_in_pages.add)(request)


def _put_into(group: AccountGroup) -> GroupAction:
    return _regroup(group, groups.group_add, f"Put into the group {group.name}")


def _take_out_of(group: AccountGroup) -> GroupAction:
    return _regroup(group, groups.group_remove, f"Taken out of the group {group.name}")


def _regroup(group: AccountGroup, change: Callable[..., object], done_words: str) -> GroupAction:
    def act(model_admin: Any, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        accounts = list(queryset)
        try:
            change(group_id=group.pk, account_ids=[account.pk for account in accounts])
        except AccountGroup.DoesNotExist:
            messages.warning(request, f"The group {group.name} is gone.")
        else:
            names = ", ".join(account.display_name for account in accounts)
            messages.success(request, f"{done_words}: {names}")

    return act


def _route(policy: str, account: Account) -> Account:
    """The reserve stays as it is."""
    return services.account_route(
        account_id=account.pk, policy=policy, stop_at_percent=account.stop_at_percent
    )


# More would make a list that nobody can choose from; a group's own page takes any number of accounts.
_MOST_GROUP_ACTIONS = 20
_SHAPES = {"codex": auth_file.codex_file, "opencode": auth_file.opencode_file}
_VERBS: dict[str, tuple[str, Callable[[Account], object]]] = {
    "pause": ("Paused", lambda account: services.account_pause(account_id=account.pk)),
    "resume": ("Resumed", lambda account: services.account_resume(account_id=account.pk)),
    "refresh": ("Token refreshed", lambda account: tokens.refresh_now(account_id=account.pk)),
    **{
        policy.value: (f"Routed as {policy.value.replace('_', ' ')}", partial(_route, policy.value))
        for policy in Account.RoutingPolicy
    },
}


@admin.register(AccountGroup)
class AccountGroupAdmin(ModelAdmin):
    list_display = ("name", "members")
    empty_title = "No groups yet."
    empty_words = "A group is a name for some accounts: to filter by, and to bind API keys to."
    add_words = "Add group"
    search_fields = ("name",)
    fields = ("name", "accounts")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AccountGroup]:
        groups: QuerySet[AccountGroup] = super().get_queryset(request)
        return groups.prefetch_related("accounts")

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        # Not Django's two lists beside each other: a screen reader cannot name their marks.
        return super().formfield_for_manytomany(
            db_field, request, **{**kwargs, "widget": CheckboxSelectMultiple()}
        )

    @display(description="accounts")
    def members(self, group: AccountGroup) -> str:
        return ", ".join(account.display_name for account in group.accounts.all()) or "none"

    def save_model(self, request: HttpRequest, obj: AccountGroup, form: ModelForm[Any], change: bool) -> None:
        groups.group_save(group=obj, account_ids=[account.pk for account in form.cleaned_data["accounts"]])

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """The service has stored the members with the group."""

    def delete_model(self, request: HttpRequest, obj: AccountGroup) -> None:
        groups.group_delete(group_id=obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[AccountGroup]) -> None:
        for group_id in list(queryset.values_list("pk", flat=True)):
            groups.group_delete(group_id=group_id)
