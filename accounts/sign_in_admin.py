"""The page Add account: browser sign-in, device code and import, also to sign a known account in again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from accounts import callback_listener, importing, services, sign_in
from accounts.auth_file import ParsedAuth
from accounts.identity import workspace_words
from accounts.models import Account, SignInFlow
from accounts.seats import difference
from accounts.sign_in_client import Unreachable
from accounts.sign_in_forms import ImportForm, PasteForm
from accounts.sign_in_protocol import CallbackError, Declined, read_pasted
from accounts.sign_in_scope import Scope, remember, scope_of
from codexproxy import locality
from codexproxy.admin_base import duration_words, time_cell

if TYPE_CHECKING:
    from codexproxy.admin_base import ModelAdmin

View = Callable[..., HttpResponse]

Status = SignInFlow.Status
Kind = SignInFlow.Kind

PREFIX = "accounts_account_sign_in"
SIGNED_OUT = (Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED)
OUTCOME_WORDS = {
    "verified": "stored, and its refresh token works",
    "unverified": "stored, but not verified",
    "kept": "not stored",
    "refused": "not stored",
}


def sign_in_url(account: Account) -> str:
    """Where an account that needs it is signed in again; empty for one that does not."""
    return add_url(account.pk) if account.status in SIGNED_OUT else ""


def add_url(target_id: str = "") -> str:
    query = f"?{urlencode({'account': target_id})}" if target_id else ""
    return reverse("admin:accounts_account_add") + query


class SignInPages:
    """The views; each flow is shown to the browser that has begun it, and to no other."""

    def __init__(self, model_admin: ModelAdmin) -> None:
        self._admin = model_admin

    def urls(self) -> list[URLPattern]:
        def way(route: str, view: Any, name: str) -> URLPattern:
            wrapped = self._admin.admin_site.admin_view(never_cache(or_begin_anew(view)))
            found: URLPattern = path(f"sign-in/{route}", wrapped, name=f"{PREFIX}{name}")
            return found

        return [
            way("browser/", require_POST(self.start_browser), "_browser"),
            way("device/", require_POST(self.start_device), "_device"),
            way("<uuid:flow_id>/", require_GET(self.show), ""),
            way("<uuid:flow_id>/state/", require_GET(self.state), "_state"),
            way("<uuid:flow_id>/paste/", require_POST(self.paste), "_paste"),
            way("<uuid:flow_id>/confirm/", require_POST(self.confirm), "_confirm"),
            way("<uuid:flow_id>/store/", require_POST(self.store), "_store"),
            way("<uuid:flow_id>/cancel/", require_POST(self.cancel), "_cancel"),
        ]

    def add(self, request: HttpRequest) -> HttpResponse:
        """The three cards. A POST brings files."""
        self._check(request)
        is_sent = request.method == "POST"
        target = _target(request)
        form = ImportForm(request.POST, request.FILES) if is_sent else ImportForm()
        if is_sent and form.is_valid():
            scope, target_id = scope_of(request), target.pk if target else ""
            flow = sign_in.start_import(scope=scope, auths=form.found(), target_id=target_id)
            return _begun(request, scope, flow)
        title = f"Sign in {target.display_name} again" if target else "Add account"
        known = locality.facts_from_pairs(request.META.get("REMOTE_ADDR"), request.headers.items())
        context = {
            "target": target,
            "form": form,
            "is_local": locality.is_local(known, settings.TRUSTED_PROXIES),
            "port": settings.CALLBACK_PORT,
        }
        return self._page(request, "add", title, context)

    def start_browser(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        scope, target = scope_of(request), _target(request)
        flow = sign_in.start_browser(scope=scope, target_id=target.pk if target else "")
        callback_listener.shared().ensure_open()
        return _begun(request, scope, flow)

    def start_device(self, request: HttpRequest) -> HttpResponse:
        self._check(request)
        scope, target = scope_of(request), _target(request)
        target_id = target.pk if target else ""
        try:
            flow = sign_in.start_device(scope=scope, target_id=target_id)
        except (Declined, Unreachable) as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(add_url(target_id))
        return _begun(request, scope, flow)

    def show(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        flow = sign_in.current(self._flow(request, flow_id))
        return self._show(request, flow)

    def state(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        """For htmx: the waiting line, or the word that there is another page to see."""
        flow = sign_in.current(self._flow(request, flow_id))
        if not flow.is_open:
            # Not a reload: the page may be the answer to a paste, which must not be sent again.
            return HttpResponse(headers={"HX-Redirect": _address(flow)})
        _keep_listening(flow)
        return TemplateResponse(request, "admin/accounts/sign_in/waiting.html", _waiting(flow))

    def paste(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        flow = self._flow(request, flow_id)
        form = PasteForm(request.POST)
        if form.is_valid():
            try:
                address = read_pasted(form.cleaned_data["address"])
                sign_in.receive(address, scope=scope_of(request), flow_id=flow.pk)
            except (CallbackError, sign_in.CallbackRefused) as refusal:
                form.add_error("address", str(refusal))
        if form.errors:
            return self._show(request, sign_in.current(flow), form)
        return _to(flow)

    def confirm(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        flow = self._flow(request, flow_id)
        if request.POST.get("as") not in ("own", "this"):
            raise Http404
        return _to(sign_in.confirm(flow, as_own=request.POST["as"] == "own"))

    def store(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        flow = self._flow(request, flow_id)
        if flow.kind != Kind.IMPORT:
            raise Http404
        return _to(sign_in.store_import(sign_in.current(flow)))

    def cancel(self, request: HttpRequest, flow_id: UUID) -> HttpResponse:
        flow = sign_in.cancel(self._flow(request, flow_id))
        return HttpResponseRedirect(add_url(flow.target_id))

    def _check(self, request: HttpRequest) -> None:
        if not self._admin.has_add_permission(request):
            raise PermissionDenied

    def _flow(self, request: HttpRequest, flow_id: UUID) -> SignInFlow:
        self._check(request)
        flow = sign_in.find(scope_of(request), flow_id)
        if flow is None:
            raise Vanished("That sign-in was started in another browser, or is long over.")
        return flow

    def _show(self, request: HttpRequest, flow: SignInFlow, form: PasteForm | None = None) -> HttpResponse:
        target = Account.objects.filter(pk=flow.target_id).first()
        context: dict[str, Any] = {
            "flow": flow,
            "target": target,
            "account": Account.objects.filter(pk=flow.account_id).first() if flow.account_id else None,
            "add_url": add_url(),
            "again_url": add_url(flow.target_id if target else ""),
            **_waiting(flow),
        }
        if flow.kind == Kind.IMPORT:
            context |= {"previews": _previews(flow, target), "results": _results(flow)}
        if flow.status == Status.PENDING and flow.kind == Kind.BROWSER:
            context |= {"form": form or PasteForm(), "problem": _keep_listening(flow)}
        if flow.status == Status.PENDING and flow.kind == Kind.DEVICE:
            context["verification_url"] = sign_in.verification_url()
        if flow.status == Status.UNCONFIRMED:
            context["may_take_over"] = sign_in.may_take_over(flow)
        title = f"Sign in {target.display_name} again" if target else "Add account"
        return self._page(request, "flow", title, context)

    def _page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> HttpResponse:
        whole = {
            **self._admin.admin_site.each_context(request),
            "title": title,
            "opts": self._admin.opts,
            **context,
        }
        return TemplateResponse(request, f"admin/accounts/sign_in/{name}.html", whole)


class Vanished(Exception):
    """What a page is about is not there any more; the message says so."""


def or_begin_anew(view: View) -> View:
    """Leads back to the beginning, with a word, where the view finds something gone."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except Vanished as gone:
            messages.warning(request, str(gone))
            if request.headers.get("HX-Request"):
                return HttpResponse(headers={"HX-Redirect": add_url("")})
            return HttpResponseRedirect(add_url(""))

    return answered


def _target(request: HttpRequest) -> Account | None:
    """The account to sign in again, where one is named."""
    target_id = request.POST.get("account") or request.GET.get("account")
    if not target_id:
        return None
    # PostgreSQL takes no NUL.
    account = Account.objects.filter(pk=target_id).first() if target_id.isprintable() else None
    if account is None:
        raise Vanished("That account is not there any more.")
    return account


def _begun(request: HttpRequest, scope: Scope, flow: SignInFlow) -> HttpResponse:
    response = _to(flow)
    remember(response, scope, request)
    return response


def _to(flow: SignInFlow) -> HttpResponse:
    return HttpResponseRedirect(_address(flow))


def _address(flow: SignInFlow) -> str:
    return reverse(f"admin:{PREFIX}", args=[flow.pk])


def _keep_listening(flow: SignInFlow) -> str:
    """Open the callback's port again if need be; why it is not open, if it is not."""
    if flow.kind != Kind.BROWSER or flow.status != Status.PENDING:
        return ""
    return callback_listener.shared().ensure_open().problem


def _waiting(flow: SignInFlow) -> dict[str, Any]:
    left = max(0, int((flow.expires_at - timezone.now()).total_seconds()))
    return {"flow": flow, "left": f"{left // 60}:{left % 60:02d}"}


def _previews(flow: SignInFlow, target: Account | None) -> list[dict[str, Any]]:
    """What each file holds and what storing it would do; never a token."""
    now = timezone.now()
    found = []
    files = sign_in.files_of(flow)
    for position, auth in enumerate(files):
        planned = importing.plan(auth, files[:position])
        found.append(
            {
                "auth": auth,
                "workspace": workspace_words(
                    label=auth.claims.workspace_label,
                    workspace_id=auth.claims.workspace_id,
                    chatgpt_account_id=auth.chatgpt_account_id,
                    shares_email=True,
                    shares_label=_shares_label(auth, files, planned.account),
                ),
                "expires": time_cell(auth.access_expires_at, now),
                "age": duration_words(now - auth.refreshed_at) if auth.refreshed_at else "",
                "step": planned.step.value,
                "account": planned.account,
                "warning": services.reason_not_to_renew(target, auth) if target else "",
            }
        )
    return found


def _shares_label(auth: ParsedAuth, files: Sequence[ParsedAuth], account: Account | None) -> bool:
    """Whether another workspace of the e-mail, here or among the files, has the same name."""
    seat = services.seat_in(auth)
    for each in files:
        is_same_name = (each.email, each.claims.workspace_label) == (auth.email, auth.claims.workspace_label)
        if is_same_name and difference(seat, services.seat_in(each)):
            return True
    stored = Account.objects.filter(email=auth.email, workspace_label=auth.claims.workspace_label)
    return stored.exclude(pk=account.pk if account else "").exists()


def _results(flow: SignInFlow) -> list[dict[str, Any]]:
    accounts = Account.objects.in_bulk([result["account_id"] for result in flow.results])
    return [
        {
            **result,
            "words": OUTCOME_WORDS[result["outcome"]],
            "account": accounts.get(result["account_id"]),
            "url": reverse("admin:accounts_account_change", args=[quote(result["account_id"])])
            if result["account_id"] in accounts
            else "",
        }
        for result in flow.results
    ]
