"""Pure: who may use the data plane. Decided before a byte of the body is looked at."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from codexproxy.locality import Facts, Network, host_is_allowed, is_cross_site, is_local
from proxy.errors import AccessDenied


@dataclass(frozen=True, slots=True)
class AccessRules:
    """What the operator's environment says."""

    trusted_proxies: Collection[Network] = ()
    named_hosts: Collection[str] = ()


def check_access(facts: Facts, rules: AccessRules) -> None:
    """Raises AccessDenied for whoever may not come in.

    SECURITY: without keys the data plane serves this machine only, and no web page: a browser sends
    Origin or Sec-Fetch-Site with every request that a page makes, a program sends neither.
    """
    if facts.origin is not None and not host_is_allowed(facts.host, rules.named_hosts):
        raise AccessDenied(
            403, "host_forbidden", f"The host name {facts.host!r} is not one of this server's."
        )
    if is_cross_site(facts):
        raise AccessDenied(403, "cross_site_forbidden", "Requests from other web sites are not served.")
    if not is_local(facts, rules.trusted_proxies):
        raise AccessDenied(
            401,
            "invalid_api_key",
            "Only programs on the server's own machine may connect without a key. "
            "Connect from there, for example through an SSH tunnel.",
        )
