"""Pure: who may use the data plane. Decided before a byte of the body is looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from codexproxy.locality import (
    Facts,
    Network,
    host_is_allowed,
    in_networks,
    is_cross_site,
    is_local,
    parse_address,
    resolve_client,
)
from proxy.errors import AccessDenied
from proxy.keys import KeyView, is_ours, key_hash

_ASK = "Ask the operator for a key; keys are made in the dashboard under API keys."


@dataclass(frozen=True, slots=True)
class AccessView:
    """What the operator has set up: part of the snapshot. Keys are found by their hash."""

    firewall: tuple[Network, ...] = ()
    key_auth_required: bool = False
    totp_required: bool = False
    keys: Mapping[str, KeyView] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What the operator's environment says, and the dashboard."""

    trusted_proxies: Collection[Network] = ()
    named_hosts: Collection[str] = ()
    view: AccessView = AccessView()


@dataclass(frozen=True, slots=True)
class Access:
    """Who came in: the holder of a key, or somebody who needs none."""

    key: KeyView | None = None

    @property
    def key_id(self) -> int | None:
        return self.key.id if self.key else None

    @property
    def owner(self) -> str:
        """What keeps the derived keys of two keys apart."""
        return f"key {self.key.id}" if self.key else ""

    def model_for(self, asked: str) -> str:
        """The model that answers a request for another."""
        return (self.key.enforced_model if self.key else "") or asked

    @property
    def accounts(self) -> frozenset[str] | None:
        return self.key.accounts if self.key else None


class WrongKey(AccessDenied):
    """A key was shown, and it opens nothing: what is counted against an address."""

    def __init__(self, message: str) -> None:
        super().__init__(401, "invalid_api_key", message)


def check_access(facts: Facts, rules: AccessRules, presented: str = "", now: float = 0.0) -> Access:
    """Firewall, then key, then locality. Raises AccessDenied for whoever may not come in."""
    check_firewall(facts, rules)
    if presented and (rules.view.key_auth_required or is_ours(presented)):
        # SECURITY: who shows one of our keys is held to it, even where none is needed: a key that was
        # revoked must not become a local client without limits.
        return Access(_key(presented, rules, now))
    if rules.view.key_auth_required:
        raise AccessDenied(401, "invalid_api_key", f"Missing API key in Authorization header. {_ASK}")
    _check_keyless(facts, rules)
    return Access()


def check_key_holder(facts: Facts, rules: AccessRules, presented: str, now: float) -> Access:
    """For what concerns one key only: its holder may ask, whether keys are required or not."""
    check_firewall(facts, rules)
    if not presented:
        raise AccessDenied(401, "invalid_api_key", f"Missing API key in Authorization header. {_ASK}")
    return Access(_key(presented, rules, now))


def check_usage_access(rules: AccessRules, presented: str, now: float, *, has_session: bool) -> Access:
    """/api/codex/usage, which by decision is outside firewall and locality.

    Without keys it answers anyone, unless the dashboard asks for a one-time code: then `has_session`, a
    verified sign-in to the dashboard, is needed. The answer holds the pool's figures, no account's.
    """
    if presented and (rules.view.key_auth_required or is_ours(presented)):
        return Access(_key(presented, rules, now))
    if rules.view.key_auth_required:
        raise AccessDenied(401, "invalid_api_key", f"Missing API key in Authorization header. {_ASK}")
    if rules.view.totp_required and not has_session:
        raise AccessDenied(401, "totp_required", "A one-time code is required: sign in to the dashboard.")
    return Access()


def check_firewall(facts: Facts, rules: AccessRules) -> None:
    """SECURITY: an address that cannot be told is nobody's, and no list admits it."""
    listed = rules.view.firewall
    if listed and not in_networks(resolve_client(facts, rules.trusted_proxies), listed):
        raise AccessDenied(403, "ip_forbidden", "Access denied for client IP", kind="access_error")


def _key(presented: str, rules: AccessRules, now: float) -> KeyView:
    key = rules.view.keys.get(key_hash(presented))
    if key is None:
        raise WrongKey(f"Invalid API key. {_ASK}")
    if not key.enabled:
        raise WrongKey("The API key is disabled. Ask the operator.")
    if key.expires_at is not None and key.expires_at <= now:
        raise WrongKey("API key has expired. Ask the operator for a new one.")
    return key


def _check_keyless(facts: Facts, rules: AccessRules) -> None:
    """SECURITY: without a key no web page is served: a browser sends Origin or Sec-Fetch-Site with every
    request that a page makes, a program sends neither.
    """
    if facts.origin is not None and not host_is_allowed(facts.host, rules.named_hosts):
        raise AccessDenied(
            403, "host_forbidden", f"The host name {facts.host!r} is not one of this server's."
        )
    if is_cross_site(facts):
        raise AccessDenied(403, "cross_site_forbidden", "Requests from other web sites are not served.")
    if not is_local(facts, rules.trusted_proxies) and not _is_listed(facts, rules):
        raise AccessDenied(
            401,
            "invalid_api_key",
            "Only programs on the server's own machine may connect without an API key, and those at "
            f"addresses on the firewall's list. {_ASK} Or connect through an SSH tunnel.",
        )


def _is_listed(facts: Facts, rules: AccessRules) -> bool:
    if facts.forwarded and not in_networks(parse_address(facts.peer), rules.trusted_proxies):
        # SECURITY: an unknown proxy at a listed address would lend it to all the world.
        return False
    return in_networks(resolve_client(facts, rules.trusted_proxies), rules.view.firewall)
