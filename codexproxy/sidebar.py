"""The sidebar: only our own pages, and what they are called."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.urls import reverse


def sidebar_titles() -> dict[str, str]:
    """What each page of the sidebar is called, by its address."""
    return {item["link"]: item["title"] for group in navigation(None) for item in group["items"]}


def navigation(request: HttpRequest | None) -> list[dict[str, Any]]:
    """Its groups, top to bottom."""

    def item(title: str, icon: str, url_name: str) -> dict[str, Any]:
        return {"title": title, "icon": icon, "link": reverse(f"admin:{url_name}")}

    return [
        {
            "title": "",
            "items": [
                item("Overview", "space_dashboard", "index"),
                item("Accounts", "group", "accounts_account_changelist"),
                item("Account groups", "workspaces", "accounts_accountgroup_changelist"),
                item("Connect a client", "cable", "connect"),
            ],
        },
        {
            "title": "Traffic",
            "separator": True,
            "items": [
                item("Requests", "receipt_long", "requestlogs_requestrecord_changelist"),
                item("Errors by cause", "error", "errors"),
                item("Conversations", "push_pin", "proxy_stickysession_changelist"),
                item("Routing explainer", "alt_route", "explain"),
            ],
        },
        {
            "title": "Access",
            "separator": True,
            "items": [
                item("API keys", "key", "proxy_apikey_changelist"),
                item("Firewall", "shield", "proxy_firewallentry_changelist"),
                item("Security", "lock", "security"),
            ],
        },
        {
            "title": "Administration",
            "separator": True,
            "items": [
                item("Settings", "tune", "proxy_settings_changelist"),
                item("Prices", "payments", "usage_priceoverride_changelist"),
                item("Notices", "notifications", "notices_noticesettings_changelist"),
                item("Backup", "archive", "backup"),
                item("Account events", "history", "accounts_accountevent_changelist"),
                item("Audit log", "policy", "accounts_auditevent_changelist"),
                item("Notice log", "outbox", "notices_notice_changelist"),
                item("Background jobs", "schedule", "accounts_jobrun_changelist"),
                item("JSON API", "data_object", "api"),
            ],
        },
    ]
