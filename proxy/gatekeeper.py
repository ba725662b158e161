"""Lets clients in by the access rules, and remembers who was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from codexproxy.locality import Facts, resolve_client
from proxy import limits
from proxy.access import (
    Access,
    AccessRules,
    AccessView,
    WrongKey,
    check_access,
    check_firewall,
    check_key_holder,
    check_usage_access,
)
from proxy.errors import AccessDenied, Busy
from proxy.keys import presented_key
from proxy.throttle import FailureThrottle


@dataclass(slots=True)
class Refused:
    """What is known of an address that the firewall refused, since it was last written down."""

    count: int
    path: str
    last_at: float


class Gatekeeper:
    """One in each process."""

    def __init__(self, environment: AccessRules, clock: Callable[[], float]) -> None:
        self.rules = environment
        self._clock = clock
        self._wrong_keys = FailureThrottle(
            limits.WRONG_KEYS, limits.WRONG_KEYS_PERIOD_S, limits.ADDRESSES_REMEMBERED
        )
        self._refused: dict[str, Refused] = {}

    def take(self, view: AccessView) -> None:
        """What the operator has set up changed."""
        self.rules = replace(self.rules, view=view)

    def admit(self, facts: Facts, headers: Mapping[str, str], path: str) -> Access:
        """Raises AccessDenied, and Busy for an address that has shown too many wrong keys."""
        return self._judged(check_access, facts, presented_key(headers), path)

    def admit_key_holder(self, facts: Facts, presented: str, path: str) -> Access:
        """For what is a key's own. Raises like `admit`."""
        return self._judged(check_key_holder, facts, presented, path)

    @property
    def asks_for_session(self) -> bool:
        """Whether the pool's usage is told only to who has given the dashboard's one-time code."""
        return self.rules.view.totp_required and not self.rules.view.key_auth_required

    def admit_usage(
        self, facts: Facts, headers: Mapping[str, str], path: str, *, has_session: bool
    ) -> Access:
        """For /api/codex/usage. Raises like `admit`."""

        def check(facts: Facts, rules: AccessRules, presented: str, now: float) -> Access:
            return check_usage_access(rules, presented, now, has_session=has_session)

        return self._judged(check, facts, presented_key(headers), path)

    def check_address(self, facts: Facts, path: str) -> None:
        """The firewall alone, for what tells nothing yet. Raises AccessDenied."""
        self._judged(_only_address, facts, "", path)

    def shuts_out(self, facts: Facts) -> bool:
        """Whether the firewall would refuse it. Nothing is counted."""
        try:
            check_firewall(facts, self.rules)
        except AccessDenied:
            return True
        return False

    def take_refused(self) -> dict[str, Refused]:
        """Whom the firewall has refused since the last call."""
        taken, self._refused = self._refused, {}
        return taken

    def put_back(self, refused: Mapping[str, Refused]) -> None:
        """These could not be written: the next call takes them again."""
        for address, earlier in refused.items():
            known = self._refused.get(address)
            if known is not None:
                known.count += earlier.count
            elif len(self._refused) < limits.REFUSALS_REMEMBERED:
                self._refused[address] = earlier

    def _judged(
        self,
        check: Callable[[Facts, AccessRules, str, float], Access],
        facts: Facts,
        presented: str,
        path: str,
    ) -> Access:
        try:
            return check(facts, self.rules, presented, self._clock())
        except WrongKey:
            self._count_wrong_key(facts)
            raise
        except AccessDenied as denied:
            if denied.code == "ip_forbidden":
                self._note_refused(facts, path)
            raise

    def _count_wrong_key(self, facts: Facts) -> None:
        # A right key from the same address still opens: its holder may share it with whoever guesses, and
        # nobody guesses 256 bits. What is saved is the work and the noise of a client gone wild.
        address, now = resolve_client(facts, self.rules.trusted_proxies), self._clock()
        wait_s = self._wrong_keys.wait_s(address, now)
        if wait_s > 0:
            raise Busy("Too many wrong API keys from this address. Try again later.", wait_s, "rate_limited")
        self._wrong_keys.failed(address, now)

    def _note_refused(self, facts: Facts, path: str) -> None:
        client = resolve_client(facts, self.rules.trusted_proxies)
        address = str(client) if client is not None else "unknown"
        known = self._refused.get(address)
        if known is None:
            if len(self._refused) >= limits.REFUSALS_REMEMBERED:
                return
            known = self._refused[address] = Refused(0, path, 0.0)
        known.count += 1
        known.path, known.last_at = path, self._clock()


def _only_address(facts: Facts, rules: AccessRules, presented: str, now: float) -> Access:
    check_firewall(facts, rules)
    return Access()
