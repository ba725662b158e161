"""The dashboard's JSON: the firewall's list."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response

from codexproxy.api_schema import Done, gives, takes
from codexproxy.errors import DashboardError
from codexproxy.locality import Address, facts_from_pairs, resolve_client
from proxy.api_shapes import EntryAdded, EntryShown, FirewallShown
from proxy.firewall import InvalidEntry, entry_text, parse_entry, shuts_out
from proxy.firewall_services import EntryExists, firewall_add, firewall_networks, firewall_remove
from proxy.models import FirewallEntry


@gives(FirewallShown, methods=["GET"])
@gives(EntryAdded, methods=["POST"])
@takes("ipAddress", "note")
@api_view(["GET", "POST"])
def firewall_ips(request: Request) -> Response:
    """GET: the list. POST: add an address or a network."""
    if request.method == "POST":
        added: EntryAdded = {**_shown(_added(request)), "warning": _warning(_client(request))}
        return Response(added)
    entries = [_shown(entry) for entry in FirewallEntry.objects.all()]
    client = _client(request)
    listed: FirewallShown = {
        "mode": "allowlist_active" if entries else "allow_all",
        "entries": entries,
        "yourAddress": str(client) if client is not None else None,
    }
    return Response(listed)


@gives(Done)
@api_view(["DELETE"])
def firewall_ip(request: Request, ip: str) -> Response:
    """Take it off the list."""
    try:
        firewall_remove(network=entry_text(parse_entry(ip)))
    except (InvalidEntry, FirewallEntry.DoesNotExist):
        raise DashboardError(404, "ip_not_found", f"{ip} is not on the list") from None
    return Response({"status": "deleted"})


def _client(request: Request) -> Address | None:
    facts = facts_from_pairs(request.META.get("REMOTE_ADDR"), request.headers.items())
    return resolve_client(facts, settings.TRUSTED_PROXIES)


def _warning(client: Address | None) -> str | None:
    """A program is not asked to confirm, as a person is: the list never shuts out of the dashboard."""
    if not shuts_out(client, firewall_networks()):
        return None
    return f"Programs at your own address ({client or 'unknown'}) cannot connect now. Add it too."


def _added(request: Request) -> FirewallEntry:
    payload: Any = request.data
    text = payload.get("ipAddress") if isinstance(payload, dict) else None
    note = payload.get("note", "") if isinstance(payload, dict) else ""
    if not isinstance(text, str) or not isinstance(note, str):
        raise DashboardError(422, "validation_error", 'Send {"ipAddress": an address or a network}.')
    try:
        return firewall_add(text=text, note=note)
    except InvalidEntry as error:
        raise DashboardError(400, "invalid_ip", str(error)) from error
    except EntryExists as error:
        raise DashboardError(409, "ip_exists", f"{error} is on the list already") from error


def _shown(entry: FirewallEntry) -> EntryShown:
    return {
        "ipAddress": entry.network,
        "note": entry.note,
        "createdAt": f"{entry.created_at:%Y-%m-%dT%H:%M:%SZ}",
    }
