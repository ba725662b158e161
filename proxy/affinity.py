"""conversation → account, with an age; kept in the process and written behind to the database."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy import limits

# In this order: what names the conversation best comes first.
CONVERSATION_HEADERS = ("session-id", "session_id", "thread-id", "x-client-request-id")
TURN_STATE = "x-codex-turn-state"
# A database's text cannot hold them: one such key would keep the whole group it is written with from it.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Ages:
    """How long a conversation is kept after its last request: by a client's own id, and by a derived key."""

    named_s: float = limits.CONVERSATION_AFFINITY_S
    derived_s: float = limits.DERIVED_AFFINITY_S


@dataclass(slots=True)
class Entry:
    """`foreign` are digests of encrypted items that another account than this one wrote."""

    account_id: str
    updated_at: float
    derived: bool = False
    served: bool = False
    foreign: set[bytes] = field(default_factory=set)

    def is_alive(self, now: float, ages: Ages) -> bool:
        return now - self.updated_at < (ages.derived_s if self.derived else ages.named_s)


def conversation_key(headers: Mapping[str, str], prompt_cache_key: str | None) -> str:
    """What names the conversation; "" when the client gives nothing."""
    for name in CONVERSATION_HEADERS:
        value = headers.get(name, "").strip()
        if value:
            return _bounded(value)
    return _bounded((prompt_cache_key or "").strip())


def file_key(file_id: str) -> str:
    """What names the account of an uploaded file, beside the conversations."""
    return _bounded(f"file:{file_id}")


def _bounded(key: str) -> str:
    if len(key) <= 200 and not _UNSTORABLE.search(key):
        return key
    return "sha256:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def digest(encrypted: str) -> bytes:
    return hashlib.blake2b(encrypted.encode(), digest_size=8).digest()


class Affinity:
    """A bounded map; the longest unused entry goes first."""

    def __init__(self, capacity: int = limits.AFFINITY_ENTRIES) -> None:
        # What the settings say; whoever swaps the snapshot keeps it true.
        self.ages = Ages()
        self._capacity = capacity
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._turn_states: OrderedDict[str, str] = OrderedDict()
        self._changed: set[str] = set()

    def get(self, key: str, now: float) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.is_alive(now, self.ages):
            del self._entries[key]
            return None
        return entry

    def assign(self, key: str, account_id: str, now: float, *, derived: bool = False) -> Entry:
        """Point a new conversation at its account before it has served, so that twins land together."""
        entry = Entry(account_id, now, derived)
        self._put(key, entry)
        return entry

    def served(self, key: str, account_id: str, now: float, *, moves: bool) -> None:
        """An account has served. Another than the conversation's own takes over only if it `moves`."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self.assign(key, account_id, now)
        elif entry.account_id != account_id and (moves or not entry.served):
            entry.account_id = account_id
        if entry.account_id == account_id:
            entry.served = True
        entry.updated_at = now
        self._entries.move_to_end(key)
        self._changed.add(key)

    def remember_foreign(self, key: str, digests: Iterable[bytes]) -> None:
        entry = self._entries.get(key)
        if entry is not None and len(entry.foreign) < limits.FOREIGN_ITEMS:
            entry.foreign.update(digests)

    def load(self, key: str, entry: Entry) -> None:
        """An entry from the database; what the process knows already is newer."""
        if key not in self._entries:
            self._put(key, entry)
            self._changed.discard(key)

    def forget_account(self, account_id: str) -> None:
        for key in [key for key, entry in self._entries.items() if entry.account_id == account_id]:
            del self._entries[key]

    def forget(self, key: str) -> None:
        self._entries.pop(key, None)

    def purge(self, key: str, at: float) -> None:
        """Forget what was last used before a moment: the operator has taken it off its account."""
        entry = self._entries.get(key)
        if entry is not None and entry.updated_at <= at:
            del self._entries[key]
            self._changed.discard(key)

    def take_changed(self) -> list[tuple[str, Entry]]:
        """What must be written to the database since the last call."""
        keys, self._changed = self._changed, set()
        return [(key, self._entries[key]) for key in keys if key in self._entries]

    def put_back(self, keys: Iterable[str]) -> None:
        """These could not be written: the next call takes them again."""
        self._changed.update(key for key in keys if key in self._entries)

    def turn_state_owner(self, state: str) -> str | None:
        return self._turn_states.get(state)

    def remember_turn_state(self, state: str, account_id: str) -> None:
        self._turn_states[state] = account_id
        self._turn_states.move_to_end(state)
        if len(self._turn_states) > self._capacity:
            self._turn_states.popitem(last=False)

    def _put(self, key: str, entry: Entry) -> None:
        self._entries[key] = entry
        self._entries.move_to_end(key)
        if len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
