"""The accounts' pages: what they show, what they never show, and what their buttons do."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import tokens
from accounts.models import Account, AccountEvent, AccountGroup, AuditEvent, Credential, JobRun
from usage.models import CurrentWindow, WindowSample

LIST = "/admin/accounts/account/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser() -> Client:
    return Client(REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")


def make_account(name: str = "a", **fields: Any) -> Account:
    account = Account.objects.create(
        **{"id": f"acct-{name}_1", "email": f"{name}@example.com", "plan_type": "plus"} | fields
    )
    Credential.objects.create(
        account=account,
        access_token="secret-access",
        refresh_token="secret-refresh",
        id_token="secret-id",
        access_expires_at=timezone.now() + timedelta(hours=5, seconds=30),
    )
    return account


def change_page(account: Account) -> str:
    return f"{LIST}{account.pk.replace('_', '_5F')}/change/"


def edited(**fields: Any) -> dict[str, Any]:
    """The form of the change page, as the browser sends it."""
    rows = {"events-TOTAL_FORMS": "0", "events-INITIAL_FORMS": "0"}
    return {"alias": "", "routing_policy": "normal", "stop_at_percent": "", **rows, **fields}


def button(account: Account, verb: str) -> str:
    return f"{LIST}{account.pk.replace('_', '_5F')}/do/{verb}/"


def test_the_list_shows_an_account_and_its_windows(browser: Client) -> None:
    account = make_account(workspace_label="Laboratory")
    now = timezone.now()
    reset_at = now + timedelta(hours=2, minutes=14, seconds=30)
    CurrentWindow.objects.create(
        account=account, window="primary", used_percent=37, reset_at=reset_at, recorded_at=now
    )
    page = browser.get(LIST).content.decode()
    for text in ("a@example.com", "Laboratory", "plus", "63 % left", "resets in 2 h 14 min", "in 5 h"):
        assert text in page
    assert 'title="unknown">–<' in page


def test_a_window_whose_reset_has_passed_is_not_shown_as_current(browser: Client) -> None:
    now = timezone.now()
    CurrentWindow.objects.create(
        account=make_account(),
        window="primary",
        used_percent=90,
        reset_at=now - timedelta(minutes=1),
        recorded_at=now - timedelta(hours=1),
    )
    page = browser.get(LIST).content.decode()
    assert "reset due" in page
    assert "10 % left" not in page


def test_a_blocked_account_says_why_and_until_when(browser: Client) -> None:
    make_account(
        status=Account.Status.RATE_LIMITED,
        status_reason="5-hour limit reached",
        reset_at=timezone.now() + timedelta(minutes=30, seconds=30),
    )
    page = browser.get(LIST).content.decode()
    assert "Rate limited" in page
    assert "for another 30 min" in page
    assert "5-hour limit reached" in page


@pytest.mark.parametrize("query", ["status__exact=paused", "plan=pro", "q=b@example", "q=Work"])
def test_the_list_can_be_filtered_and_searched(browser: Client, query: str) -> None:
    make_account("a")
    make_account("b", plan_type="pro", status=Account.Status.PAUSED, alias="Work")
    assert [row.email for row in browser.get(f"{LIST}?{query}").context["cl"].result_list] == [
        "b@example.com"
    ]


def test_no_page_shows_or_decrypts_a_token(browser: Client) -> None:
    account = make_account()
    # A token that cannot be decrypted breaks whatever page tries to.
    Credential.objects.filter(pk=account.pk).update(source="upload")
    table = Credential._meta.db_table
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET access_token = 'garbage', refresh_token = 'garbage'")
    for path in (LIST, change_page(account), f"{LIST}{account.pk.replace('_', '_5F')}/delete/"):
        response = browser.get(path)
        assert response.status_code == 200
        page = response.content.decode()
        assert "secret-" not in page and "garbage" not in page
    assert "upload" in browser.get(change_page(account)).content.decode()


def test_the_detail_shows_what_happened(browser: Client) -> None:
    account = make_account()
    AccountEvent.objects.create(account=account, kind="limited", detail="429 usage_limit_reached")
    page = browser.get(change_page(account)).content.decode()
    assert "429 usage_limit_reached" in page
    assert "5 hours" in page


def test_the_events_of_all_accounts_are_one_list(browser: Client) -> None:
    for name in "ab":
        account = make_account(name)
        AccountEvent.objects.create(account=account, kind="rate_limited", detail=f"the limit of {name}")
    events = f"{LIST}".replace("/account/", "/accountevent/")
    page = browser.get(events).content.decode()
    assert page.index("the limit of b") < page.index("the limit of a")
    assert change_page(account) in page
    page = browser.get(f"{events}?q=a@example.com").content.decode()
    assert "the limit of a" in page
    assert "the limit of b" not in page
    assert browser.get(f"{events}add/").status_code == 403


def test_who_pauses_an_account_is_in_its_timeline(browser: Client) -> None:
    browser.post(button(make_account(), "pause"))
    event = AccountEvent.objects.get()
    assert (event.kind, event.detail) == ("paused", f"by {AuditEvent.objects.get().actor}")


def test_the_alias_can_be_changed_and_what_upstream_tells_cannot(browser: Client) -> None:
    account = make_account()
    form = {
        "alias": "Work",
        "email": "evil@example.com",
        "plan_type": "pro",
        "status": "paused",
        "routing_policy": "normal",
        "events-TOTAL_FORMS": "0",
        "events-INITIAL_FORMS": "0",
    }
    assert browser.post(change_page(account), form).status_code == 302
    account.refresh_from_db()
    assert (account.alias, account.email, account.plan_type) == ("Work", "a@example.com", "plus")
    assert account.status == Account.Status.ACTIVE


def test_saving_the_alias_keeps_a_status_that_changed_meanwhile(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = make_account()
    original = Account.full_clean

    def change_meanwhile(self: Account, *args: Any, **kwargs: Any) -> None:
        Account.objects.filter(pk=account.pk).update(status=Account.Status.PAUSED)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Account, "full_clean", change_meanwhile)
    browser.post(change_page(account), edited(alias="Work"))
    account.refresh_from_db()
    assert (account.alias, account.status) == ("Work", Account.Status.PAUSED)


def test_the_buttons_pause_and_resume(browser: Client) -> None:
    account = make_account()
    assert browser.post(button(account, "pause")).headers["Location"] == LIST
    account.refresh_from_db()
    assert account.status == Account.Status.PAUSED
    assert browser.post(button(account, "resume"), {"stay": "1"}).headers["Location"] == change_page(account)
    account.refresh_from_db()
    assert account.status == Account.Status.ACTIVE


def test_a_link_cannot_press_a_button(browser: Client) -> None:
    account = make_account()
    assert browser.get(button(account, "pause")).status_code == 405
    strict = Client(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    assert strict.post(button(account, "pause")).status_code == 403
    account.refresh_from_db()
    assert account.status == Account.Status.ACTIVE


def test_an_unknown_button_is_not_found(browser: Client) -> None:
    account = make_account()
    assert browser.post(button(account, "explode")).status_code == 404


@pytest.mark.parametrize("path", ["do/pause/", "export/", "probe/"])
def test_an_account_that_is_gone_is_a_message(browser: Client, path: str) -> None:
    page = browser.post(f"{LIST}nobody/{path}", follow=True)
    assert page.status_code == 200
    assert "This account is gone." in page.content.decode()


def test_the_list_offers_the_actions_for_several_accounts(browser: Client) -> None:
    make_account()
    page = browser.get(LIST).content.decode()
    for name in ("pause_selected", "resume_selected", "refresh_selected", "delete_selected"):
        assert f'value="{name}"' in page
    assert 'name="index"' in page


def test_several_accounts_are_paused_at_once(browser: Client) -> None:
    chosen = [make_account("a").pk, make_account("b").pk]
    browser.post(LIST, {"action": "pause_selected", "_selected_action": chosen})
    assert {account.status for account in Account.objects.all()} == {Account.Status.PAUSED}


def test_a_conflict_is_told_and_the_others_are_done(browser: Client) -> None:
    first = make_account("a", status=Account.Status.DEACTIVATED)
    second = make_account("b", status=Account.Status.PAUSED)
    response = browser.post(
        LIST, {"action": "resume_selected", "_selected_action": [first.pk, second.pk]}, follow=True
    )
    page = response.content.decode()
    assert "a@example.com: " in page
    assert "Resumed: b@example.com" in page


def test_a_refresh_that_fails_is_told_in_words(browser: Client) -> None:
    # The test settings name an auth server that nobody runs.
    response = browser.post(button(make_account(), "refresh"), follow=True)
    assert response.status_code == 200
    assert "a@example.com: " in response.content.decode()


def test_an_account_is_deleted_after_a_question(browser: Client) -> None:
    account = make_account()
    path = f"{LIST}{account.pk.replace('_', '_5F')}/delete/"
    assert "its sign-in and its usage history" in browser.get(path).content.decode()
    browser.post(path, {"post": "yes"})
    assert not Account.objects.exists()


def test_several_accounts_are_deleted_at_once(browser: Client) -> None:
    chosen = [make_account("a").pk, make_account("b").pk]
    browser.post(LIST, {"action": "delete_selected", "_selected_action": chosen, "post": "yes"})
    assert not Account.objects.exists()


def test_the_audit_log_and_the_jobs_are_read_only(browser: Client) -> None:
    event = AuditEvent.objects.create(actor="operator", action="account.pause", subject="a@example.com")
    JobRun.objects.create(name="usage", started_at=timezone.now())
    assert "account.pause" in browser.get("/admin/accounts/auditevent/").content.decode()
    assert "usage" in browser.get("/admin/accounts/jobrun/").content.decode()
    assert browser.get("/admin/accounts/auditevent/add/").status_code == 403
    assert browser.post(f"/admin/accounts/auditevent/{event.pk}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("status", [Account.Status.REAUTH_REQUIRED, Account.Status.DEACTIVATED])
def test_an_account_that_is_signed_out_leads_back_in(browser: Client, status: str) -> None:
    account = make_account(status=status)
    make_account("b")
    link = f'href="{LIST}add/?account={account.pk}"'
    assert browser.get(LIST).content.decode().count(link) == 1
    assert link in browser.get(change_page(account)).content.decode()


def test_two_workspaces_of_one_e_mail_are_told_apart(browser: Client) -> None:
    for name in ("1", "2"):
        make_account(name, email="ann@example.com", chatgpt_account_id=f"workspace-{name}")
    page = browser.get(LIST).content.decode()
    assert "workspace-1" in page and "workspace-2" in page


def test_two_workspaces_of_one_name_and_one_e_mail_are_told_apart(browser: Client) -> None:
    for name in ("1", "2"):
        workspace = {"workspace_label": "Laboratory", "workspace_id": f"ws-{name}"}
        make_account(name, email="ann@example.com", **workspace)
    make_account("3", email="bob@example.com", workspace_label="Laboratory", workspace_id="ws-3")
    page = browser.get(LIST).content.decode()
    assert "Laboratory (ws-1)" in page and "Laboratory (ws-2)" in page
    assert "(ws-3)" not in page, "nobody could take it for another one"


def test_an_account_says_whether_its_refresh_token_is_verified(browser: Client) -> None:
    account = make_account()
    assert "not verified yet" in browser.get(change_page(account)).content.decode()
    Credential.objects.update(rotated_at=timezone.now())
    assert "not verified yet" not in browser.get(change_page(account)).content.decode()


def test_the_list_marks_accounts_that_are_not_verified(browser: Client) -> None:
    make_account()
    assert "not verified" in browser.get(LIST).content.decode()
    Credential.objects.update(rotated_at=timezone.now())
    assert "not verified" not in browser.get(LIST).content.decode()


@pytest.mark.parametrize("policy", Account.RoutingPolicy.values)
def test_several_accounts_are_routed_at_once_and_keep_their_reserve(browser: Client, policy: str) -> None:
    chosen = [make_account(name, stop_at_percent=80).pk for name in "ab"]
    page = browser.post(LIST, {"action": f"{policy}_selected", "_selected_action": chosen}, follow=True)
    assert "a@example.com, b@example.com" in page.content.decode()
    assert set(Account.objects.values_list("routing_policy", "stop_at_percent")) == {(policy, 80)}


def test_the_routing_of_an_account_can_be_changed_and_is_in_its_timeline(browser: Client) -> None:
    account = make_account()
    browser.post(change_page(account), edited(routing_policy="preserve", stop_at_percent="80"))
    account.refresh_from_db()
    assert (account.routing_policy, account.stop_at_percent) == ("preserve", 80)
    assert "preserve, stops at 80 % of the week" in browser.get(change_page(account)).content.decode()


@pytest.mark.parametrize("percent", ["0", "101", "-1", "many"])
def test_a_reserve_that_cannot_be_is_refused_beside_its_field(browser: Client, percent: str) -> None:
    account = make_account()
    page = browser.post(change_page(account), edited(stop_at_percent=percent))
    assert page.status_code == 200
    assert "stop_at_percent" in page.context["adminform"].form.errors


def test_groups_are_made_filtered_by_and_deleted(browser: Client) -> None:
    first, _ = make_account("a"), make_account("b")
    groups = "/admin/accounts/accountgroup/"
    assert browser.post(f"{groups}add/", {"name": "Team", "accounts": [first.pk]}).status_code == 302
    group = AccountGroup.objects.get()
    assert "a@example.com" in browser.get(groups).content.decode()
    assert "Team" in browser.get(change_page(first)).content.decode()
    filtered = browser.get(f"{LIST}?groups__id__exact={group.pk}").context["cl"].result_list
    assert [row.pk for row in filtered] == [first.pk]
    browser.post(f"{groups}{group.pk}/delete/", {"post": "yes"})
    assert not AccountGroup.objects.exists()
    assert Account.objects.count() == 2


def test_an_export_asks_first_and_is_never_cached(browser: Client) -> None:
    account = make_account()
    path = change_page(account).replace("/change/", "/export/")
    assert path in browser.get(change_page(account)).content.decode()
    page = browser.get(path)
    assert "audit log" in page.content.decode() and "secret-" not in page.content.decode()
    assert not AuditEvent.objects.exists()
    strict = Client(enforce_csrf_checks=True, REMOTE_ADDR="127.0.0.1", HTTP_HOST="localhost")
    assert strict.post(path, {"shape": "codex"}).status_code == 403

    answer = browser.post(path, {"shape": "codex"})

    assert answer.json()["tokens"]["refresh_token"] == "secret-refresh"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert browser.post(path, {"shape": "opencode"}).json()["openai"]["refresh"] == "secret-refresh"
    assert AuditEvent.objects.filter(action="account_auth_exported").count() == 2


def test_an_export_for_codex_without_an_id_token_says_which_one_there_is(
    browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*, account_id: str) -> None:
        raise tokens.RefreshFailed("not now")

    monkeypatch.setattr(tokens, "refresh_now", unreachable)
    account = make_account()
    Credential.objects.update(id_token="")
    path = change_page(account).replace("/change/", "/export/")
    answer = browser.post(path, {"shape": "codex"}, follow=True)
    assert "no id token" in answer.content.decode()
    assert "Export for OpenCode" in answer.content.decode()
    assert browser.post(path, {"shape": "opencode"}).json()["openai"]["type"] == "oauth"


def test_an_account_says_when_its_tokens_are_refreshed_next(browser: Client) -> None:
    account = make_account()
    # Ten minutes before they end, and not with all others that end then.
    page = browser.get(change_page(account)).content.decode()
    assert re.search(r"in 4 h (2[0-9]|3[0-9]|4[0-9]|50) min", page)
    Account.objects.update(status=Account.Status.REAUTH_REQUIRED)
    assert "none until it is signed in again" in browser.get(change_page(account)).content.decode()


def test_a_background_job_says_when_it_ran_last_and_how_long_it_took(browser: Client) -> None:
    now = timezone.now()
    began = now - timedelta(minutes=5)
    JobRun.objects.create(name="tidy up", started_at=began, ended_at=began + timedelta(seconds=40))
    JobRun.objects.create(name="refresh usage", started_at=now, ended_at=None)
    page = browser.get("/admin/accounts/jobrun/").content.decode()
    for words in ("5 min ago", "40 s", "runs now", "2\n    jobs"):
        assert words in page, words


def test_the_audit_log_tells_moments_that_the_browser_puts_into_its_own_time(browser: Client) -> None:
    event = AuditEvent.objects.create(actor="operator", action="account_paused")
    page = browser.get("/admin/accounts/auditevent/").content.decode()
    assert f'data-local="seconds">{event.at:%Y-%m-%d %H:%M:%S} UTC</time>' in page


def test_an_account_shows_what_was_left_of_its_week(browser: Client) -> None:
    account = make_account("a")
    url = change_page(account)
    assert "What was left in the last 7 days" not in browser.get(url).content.decode()
    now = timezone.now()
    for days, used in ((6, 10.0), (3, 60.0), (0, 70.0)):
        WindowSample.objects.create(
            account=account, window="secondary", used_percent=used, recorded_at=now - timedelta(days=days)
        )
    page = browser.get(url).content.decode()
    points = re.search(r'<polyline class="cp-trend-secondary" points="([^"]+)"', page)
    assert points is not None
    places = [place.split(",") for place in points[1].split()]
    assert [float(y) for _, y in places] == [10.0, 60.0, 70.0]
    assert [float(x) for x, _ in places] == pytest.approx([14.3, 57.1, 100.0], abs=0.2)
    assert 'href="/admin/requestlogs/requestrecord/?account=acct-a_1"' in page


@pytest.mark.parametrize(
    ("path", "words", "action"),
    [
        ("accounts/account/", "Accounts are the ChatGPT sign-ins", "Add account"),
        ("accounts/accountgroup/", "A group is a name for some accounts", "Add group"),
        ("proxy/apikey/", "A key lets a program in", "Add API key"),
        ("proxy/firewallentry/", "every address may connect", "Add address or network"),
        ("usage/priceoverride/", "The published prices below hold", "Add price"),
        ("proxy/stickysession/", "A conversation stays on the account", "Connect a client"),
        ("requestlogs/requestrecord/", "Every request of a client is listed here", "Connect a client"),
        ("accounts/auditevent/", "written down here, with who did it", ""),
        ("accounts/jobrun/", "the last run of each job is here", ""),
        ("accounts/accountevent/", "listed here, with their causes", "Accounts"),
        ("notices/notice/", "with whom it went to and whether it arrived", ""),
    ],
)
def test_an_empty_list_says_what_it_is_for_and_has_one_button(
    browser: Client, path: str, words: str, action: str
) -> None:
    page = browser.get(f"/admin/{path}").content.decode()
    box = page[page.index('<div class="cp-empty">') :]
    box = box[: box.index("</div>")]
    assert words in box and action in box
    assert box.count("<a ") == (1 if action else 0)
