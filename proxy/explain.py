"""Pure: the choice of an account, laid open: each account's verdict, and its chance of being chosen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.routing import Ask, Candidate, Choice, choose

# A strategy that draws lots is asked so often; the lots are spread evenly, so that the shares are right to
# about one percent.
DRAWS = 500
_GOLDEN = 0.618_033_988_749_895


class _EvenDraws(random.Random):
    """Lots that lie evenly between 0 and 1, one after another: a hundred say what thousands of chances do."""

    def __init__(self) -> None:
        super().__init__(0)
        self._last = 0.0

    def random(self) -> float:
        self._last = (self._last + _GOLDEN) % 1.0
        return self._last


@dataclass(frozen=True, slots=True)
class Verdict:
    """One account. `share_percent` of such requests go to it; `reason` says why none does."""

    candidate: Candidate
    share_percent: float
    reason: str = ""
    until: float | None = None

    @property
    def is_able(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """Verdicts by share, then by name. `why` is how the choice was made; "" when nobody serves."""

    verdicts: tuple[Verdict, ...]
    why: str

    @property
    def likeliest(self) -> Verdict | None:
        first = self.verdicts[0] if self.verdicts else None
        return first if first is not None and first.share_percent > 0 else None


def explained(pool: Iterable[Candidate], ask: Ask, now: float, *, draws: int = DRAWS) -> Explanation:
    """What the data plane's own choice would be, asked often enough to know its odds."""
    candidates = list(pool)
    rng = _EvenDraws()
    first = choose(candidates, ask, now, rng)
    passed = {account.account_id: account for account in first.passed_over}
    shares: Counter[str] = Counter()
    if isinstance(first, Choice):
        shares[first.account_id] += 1
        for _ in range(draws - 1):
            drawn = choose(candidates, ask, now, rng)
            if isinstance(drawn, Choice):
                shares[drawn.account_id] += 1
    total = shares.total() or 1
    verdicts = []
    for candidate in candidates:
        over = passed.get(candidate.account_id)
        verdicts.append(
            Verdict(
                candidate,
                100.0 * shares[candidate.account_id] / total,
                over.reason if over else "",
                over.until if over else None,
            )
        )
    verdicts.sort(key=lambda verdict: (-verdict.share_percent, not verdict.is_able, verdict.candidate.label))
    return Explanation(tuple(verdicts), first.why if isinstance(first, Choice) else "")
