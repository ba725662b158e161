"""The one loop: choose an account, send, judge the first event; deliver, refresh, go on, or surface."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from accounts.tokens import RefreshFailed, RefreshRefused, TokenRefresher
from codexproxy.http import TransportFailed
from proxy import headers, limits
from proxy.affinity import TURN_STATE, Affinity, Entry
from proxy.dialects.codex import CodexRequest, reasoning_digests, without_reasoning
from proxy.errors import Surfaced
from proxy.figures import in_pool_terms, pool_window
from proxy.outcomes import Effect, Outcome, Step, UpstreamError, classify
from proxy.pool import Member, Pool, Token
from proxy.routing import Ask, PassedOver, Refusal, moves_for_good
from proxy.sse import EventTooLarge
from proxy.stream import RateLimits, Reader
from proxy.surface import lost_response, nobody, surfaced
from proxy.transport import OverHttp, Reply, Transport
from proxy.upstream import Upstream, broken, refusal_of, server_error
from requestlogs.records import AttemptRecord, Record, Split
from usage.windows import sample_from_event, sample_from_headers


@dataclass(frozen=True, slots=True)
class Services:
    """What the loop works with; each is a seam."""

    pool: Pool
    affinity: Affinity
    upstream: Upstream
    refresher: TokenRefresher
    clock: Callable[[], float]


@dataclass(slots=True)
class Turn:
    """One request on its way. `passed` are the client's headers as upstream may see them."""

    request: CodexRequest
    passed: headers.HeaderList
    conversation: str
    turn_state: str
    record: Record
    native: bool = True
    # The accounts that the client's key is bound to; None: any.
    accounts: frozenset[str] | None = None
    # The conversation is named by a key of our own making: it is forgotten sooner.
    has_derived_key: bool = False
    plans_without_model: frozenset[str] = frozenset()
    # The account that alone has a file of the request.
    file_owner: str | None = None
    # None asks over HTTP.
    transport: Transport | None = None

    def elapsed_ms(self) -> int:
        return int(self.record.elapsed_ms())


@dataclass(slots=True)
class Served:
    """An account serves: its first events, and the rest to come. It must be closed."""

    member: Member
    response: Reply
    stream: Reader
    first: bytes
    rest: AsyncIterator[bytes]
    attempt: AttemptRecord
    pool: Pool

    async def close(self) -> None:
        self.pool.end(self.member)
        await self.response.close()


@dataclass(frozen=True, slots=True)
class Refused:
    outcome: Outcome
    error: UpstreamError
    events: bytes = b""


@dataclass(slots=True)
class _SameAccount:
    """What one account is sent, and which of its second chances are spent."""

    body: bytes
    # Of the token that was sent last: by the time of its refusal another request may have renewed it.
    generation: int = 0
    refreshed: bool = False
    stripped: bool = False
    reconnects: int = 0


async def _until_judged(reader: Reader, blocks: AsyncIterator[bytes]) -> bytes:
    """What goes out first. Raises TransportFailed and EventTooLarge."""
    async for block in blocks:
        first = reader.feed(block)
        if reader.judged or reader.failure is not None:
            return first
        if reader.is_cut_short:
            break
    return reader.end()


def _ms_since(began: float) -> float:
    return (time.monotonic() - began) * 1000


_LIMITS = frozenset({Effect.RATE_LIMITED, Effect.QUOTA_EXCEEDED, Effect.MODEL_LIMITED})


class Attempts:
    """The attempts of one turn."""

    def __init__(self, turn: Turn, services: Services) -> None:
        self._turn = turn
        self._services = services
        self._transport = turn.transport or OverHttp(services.upstream)
        self._excluded: dict[str, PassedOver] = {}
        self._transient_failures = 0
        self._last: Refused | None = None
        self._entry: Entry | None = None
        self._split = Split(queue_ms=turn.record.elapsed_ms())

    async def run(self) -> Served:
        """Raises Surfaced when no account serves."""
        if self._goes_on and self._transport.holder is None:
            raise lost_response()
        while True:
            member = self._choose()
            result = await self._ask_member(member)
            if isinstance(result, Served):
                self._settle(member, result)
                return result
            self._last = result
            if result.outcome.step is Step.SURFACE:
                raise self._surfaced(result)
            if self._goes_on:
                raise self._out_of_reach()
            self._exclude(member, result.outcome)
            self._transient_failures += result.outcome.counts_as_transient
            if self._transient_failures >= limits.TRANSIENT_FAILURES:
                raise self._surfaced(result)

    async def run_on(self, member: Member) -> Served:
        """Ask this account and no other, whatever its state. Raises Surfaced with what it said."""
        result = await self._ask_member(member)
        if isinstance(result, Served):
            self._settle(member, result)
            return result
        raise surfaced(result.error, (), native=False)

    @property
    def _goes_on(self) -> bool:
        """Whether the turn goes on from a response that only one connection knows."""
        return bool(self._turn.request.previous_response_id)

    # --- choosing -----------------------------------------------------------------------------

    def _conversation(self) -> Entry | None:
        turn, affinity = self._turn, self._services.affinity
        if not turn.conversation or not self._services.pool.settings.affinity_enabled:
            return None
        return affinity.get(turn.conversation, self._services.clock())

    def _choose(self) -> Member:
        began = time.monotonic()
        try:
            return self._chosen()
        finally:
            self._split.choose_ms += _ms_since(began)

    def _chosen(self) -> Member:
        turn, pool = self._turn, self._services.pool
        if self._entry is None:
            # Looked up together with the choice: a twin may have chosen a moment ago.
            self._entry = self._conversation()
        ask = self._ask()
        choice = pool.choose(ask)
        turn.record.routing = {
            "why": "" if isinstance(choice, Refusal) else choice.why,
            "passed_over": [
                {"account_id": account.account_id, "reason": account.reason, "until": account.until}
                for account in choice.passed_over
            ],
        }
        if isinstance(choice, Refusal):
            if self._goes_on:
                raise self._out_of_reach()
            raise self._out_of_candidates(choice, ask.only)
        member = pool.member(choice.account_id)
        if member is None:  # the pool changes only between awaits
            raise LookupError(choice.account_id)
        if turn.conversation and self._entry is None and pool.settings.affinity_enabled:
            # Before it has served: many first requests of one conversation land on one account.
            self._entry = self._services.affinity.assign(
                turn.conversation, choice.account_id, self._services.clock(), derived=turn.has_derived_key
            )
        return member

    def _ask(self) -> Ask:
        settings = self._services.pool.settings
        owner = (
            self._services.affinity.turn_state_owner(self._turn.turn_state) if self._turn.turn_state else None
        )
        entry = self._entry
        only = self._transport.holder if self._goes_on else None
        if entry is not None and entry.served and self._turn.request.has_compaction:
            only = only or entry.account_id
        only = only or self._turn.file_owner
        return Ask(
            model=self._turn.request.model,
            affinity=owner or (entry.account_id if entry else None),
            excluded=self._excluded,
            only=only,
            plans_without_model=self._turn.plans_without_model,
            accounts=self._turn.accounts,
            strategy=settings.routing_strategy,
            prefer_earlier_reset=settings.prefer_earlier_reset,
        )

    def _exclude(self, member: Member, outcome: Outcome) -> None:
        candidate = member.candidate
        by_limit = outcome.effect in _LIMITS
        until = candidate.reset_at if by_limit else None
        if outcome.effect is Effect.MODEL_LIMITED:
            until = candidate.model_limits[outcome.limit_id].used_up_until(self._services.clock())
        reason = outcome.name if by_limit or not outcome.reason else f"{outcome.name}: {outcome.reason}"
        self._excluded[candidate.account_id] = PassedOver(
            candidate.account_id, candidate.label, reason, until, by_limit
        )

    # --- one account --------------------------------------------------------------------------

    async def _ask_member(self, member: Member) -> Served | Refused:
        """Ask one account, with the retries that stay on it; what it meant is learned."""
        pool = self._services.pool
        pool.begin(member)
        served = False
        try:
            result = await self._ask_until_settled(member)
            served = isinstance(result, Served)
        finally:
            if not served:
                pool.end(member)
        if isinstance(result, Refused):
            pool.learn(member, result.outcome, self._turn.request.model)
        return result

    async def _ask_until_settled(self, member: Member) -> Served | Refused:
        same = _SameAccount(self._body_for(member))
        if self._goes_on:
            return await self._ask_on(member, same.body)
        expires_at = member.token.expires_at
        if expires_at is not None and expires_at <= self._services.clock():
            same.refreshed, same.generation = True, member.token.generation
            if (refused := await self._refresh(member, same.generation, "proactive_expiry")) is not None:
                return refused
        while True:
            same.generation = member.token.generation
            try:
                result = await self._ask_once(member, same.body)
            except TransportFailed as failure:
                if failure.kind != "broken" or same.reconnects >= limits.RECONNECTS:
                    return self._refused(broken(failure))
                same.reconnects += 1
                continue
            if isinstance(result, Served):
                return result
            if (settled := await self._again(member, result, same)) is not None:
                return settled

    async def _ask_on(self, member: Member, body: bytes) -> Served | Refused:
        """Ask over the connection that is open: a second try over another would be refused."""
        try:
            return await self._ask_once(member, body)
        except TransportFailed as failure:
            return self._refused(broken(failure))

    async def _again(self, member: Member, refused: Refused, same: _SameAccount) -> Refused | None:
        """None when the same account is worth asking once more, else what the refusal comes to."""
        if refused.outcome.step is Step.REFRESH_TOKEN and not same.refreshed:
            same.refreshed = True
            return await self._refresh(member, same.generation, "unauthorized_recovery")
        if refused.outcome.step is Step.WITHOUT_REASONING:
            reduced = without_reasoning(same.body)
            if same.stripped or reduced is same.body:
                # A compaction item has an owner, known here or not: one of the others may be it.
                step = Step.NEXT_ACCOUNT if self._turn.request.has_compaction else Step.SURFACE
                outcome = Outcome(refused.outcome.name, Effect.NONE, step)
                return Refused(outcome, refused.error, refused.events)
            self._remember_foreign(same.body)
            same.body, same.stripped = reduced, True
            return None
        return refused

    async def _ask_once(self, member: Member, body: bytes) -> Served | Refused:
        """One request upstream, up to the judged event. Raises TransportFailed before any answer."""
        turn = self._turn
        attempt = AttemptRecord(member.candidate.account_id, turn.elapsed_ms())
        turn.record.attempts.append(attempt)
        sent = headers.signed(self._passed_for(member), member.token.access, member.chatgpt_account_id)
        began = time.monotonic()
        try:
            response = await self._transport.respond(attempt.account_id, sent, body)
        except TransportFailed as failure:
            attempt.outcome, attempt.message, attempt.ended_ms = failure.kind, str(failure), turn.elapsed_ms()
            raise
        finally:
            self._split.connect_ms += _ms_since(began)
        served = False
        try:
            result = await self._judge(member, response, attempt)
            served = isinstance(result, Served)
        finally:
            if not served:
                await response.close()
        if isinstance(result, Refused):
            attempt.outcome, attempt.code = result.outcome.name, result.error.code or None
            attempt.message, attempt.ended_ms = result.error.message[:500], turn.elapsed_ms()
        return result

    async def _judge(self, member: Member, response: Reply, attempt: AttemptRecord) -> Served | Refused:
        attempt.status = response.status
        services = self._services
        sample = sample_from_headers(response.headers, services.clock())
        if sample is not None:
            services.pool.sampled(member, sample)
        reader = self._transport.reader(lambda event: self._rate_limits(member, event))
        if response.status not in reader.answers:
            return self._refused(await refusal_of(response))
        blocks = response.blocks()
        began = time.monotonic()
        try:
            first = await _until_judged(reader, blocks)
        except TransportFailed as failure:
            return self._refused(broken(failure))
        except EventTooLarge as error:
            return self._refused(UpstreamError(None, server_error("stream_event_too_large", str(error))))
        finally:
            self._split.upstream_ms += _ms_since(began)
        if reader.failure is not None:
            attempt.status = reader.error_status or attempt.status
            refusal = UpstreamError(reader.error_status, reader.failure, limit_id=reader.error_limit_id)
            return self._refused(refusal, reader.failed_events)
        if not reader.judged:
            return self._refused(UpstreamError(None, server_error("stream_incomplete", reader.unjudged)))
        attempt.first_event_ms = self._turn.elapsed_ms()
        attempt.outcome = "served"
        return Served(member, response, reader, first, blocks, attempt, services.pool)

    def _refused(self, error: UpstreamError, events: bytes = b"") -> Refused:
        return Refused(classify(error, self._services.clock()), error, events)

    async def _refresh(self, member: Member, stale: int, reason: str) -> Refused | None:
        """A newer token than `stale` for the account, or why there is none."""
        if member.token.generation > stale:
            return None
        account_id = member.candidate.account_id
        try:
            fresh = await self._services.refresher.refresh(account_id, stale_generation=stale, reason=reason)
        except RefreshRefused as refusal:
            outcome = Outcome(
                "signed out",
                Effect.SIGN_IN_NEEDED,
                Step.NEXT_ACCOUNT,
                reason=refusal.reason,
                code=refusal.code,
            )
            return Refused(outcome, UpstreamError(401, {"code": refusal.code, "message": refusal.reason}))
        except RefreshFailed as failure:
            outcome = Outcome(
                "token refresh failed", Effect.TRANSIENT, Step.NEXT_ACCOUNT, reason=str(failure)
            )
            return Refused(
                outcome, UpstreamError(401, {"code": "token_refresh_failed", "message": str(failure)})
            )
        expires_at = fresh.expires_at.timestamp() if fresh.expires_at else None
        self._services.pool.token_refreshed(
            account_id, Token(fresh.access_token, fresh.generation, expires_at)
        )
        return None

    # --- what goes out ------------------------------------------------------------------------

    def _body_for(self, member: Member) -> bytes:
        """The request as this account can read it; the original is kept."""
        body, entry = self._turn.request.body, self._entry
        if entry is None or not entry.served:
            return body
        if entry.account_id != member.candidate.account_id:
            return without_reasoning(body)
        return without_reasoning(body, entry.foreign) if entry.foreign else body

    def _passed_for(self, member: Member) -> headers.HeaderList:
        turn = self._turn
        owner = self._services.affinity.turn_state_owner(turn.turn_state) if turn.turn_state else None
        if owner is None or owner == member.candidate.account_id:
            return turn.passed
        return headers.without(turn.passed, TURN_STATE.encode())

    def _remember_foreign(self, body: bytes) -> None:
        if self._turn.conversation:
            self._services.affinity.remember_foreign(self._turn.conversation, reasoning_digests(body))

    def _rate_limits(self, member: Member, event: RateLimits) -> RateLimits | None:
        """Learn the account's figures; the client sees the pool's."""
        services, now = self._services, self._services.clock()
        sample = sample_from_event(event, now)
        if sample is None:
            return None
        services.pool.sampled(member, sample)
        if not self._turn.native or not sample.windows:
            # OpenAI's own clients do not know the event; an account's limit for one model is not the pool's.
            return None
        primary = pool_window(services.pool.candidates(), "primary", now)
        secondary = pool_window(services.pool.candidates(), "secondary", now)
        return in_pool_terms(event, primary, secondary, now)

    # --- the end ------------------------------------------------------------------------------

    def _settle(self, member: Member, served: Served) -> None:
        """An account serves: the conversation is its own from now on, or again soon its owner's."""
        services, turn, now = self._services, self._turn, self._services.clock()
        account_id = member.candidate.account_id
        services.pool.succeeded(member)
        turn.record.split = split = self._split
        split.own_ms = turn.record.elapsed_ms() - split.connect_ms - split.upstream_ms
        state = served.response.header(TURN_STATE.encode())
        if state:
            services.affinity.remember_turn_state(state, account_id)
        entry = self._entry
        if entry is None:
            return
        moves = False
        if entry.account_id != account_id and entry.served:
            owner = services.pool.member(entry.account_id)
            # Only who has made a compaction can read it: the conversation goes on there.
            compacted = turn.request.makes_compaction
            held = owner.candidate if owner else None
            moves = compacted or moves_for_good(held, now, turn.request.model)
            if moves:
                self._remember_foreign(turn.request.body)
        services.affinity.served(turn.conversation, account_id, now, moves=moves)

    def _surfaced(self, refused: Refused) -> Surfaced:
        passed_over = tuple(self._passed_over())
        answer = surfaced(refused.error, passed_over, native=self._turn.native)
        if refused.outcome.step is Step.SURFACE:
            # The client's own business: as it came.
            answer.events, answer.raw = refused.events, refused.error.body if self._turn.native else b""
        return answer

    def _passed_over(self) -> list[PassedOver]:
        choice = self._services.pool.choose(self._ask())
        return list(choice.passed_over) if isinstance(choice, Refusal) else list(self._excluded.values())

    def _out_of_reach(self) -> Surfaced:
        """The turn's own connection cannot serve it; sent again as a whole it is anybody's."""
        choice = self._services.pool.choose(replace(self._ask(), only=None))
        if isinstance(choice, Refusal):
            return self._out_of_candidates(choice, None)
        return lost_response()

    def _out_of_candidates(self, refusal: Refusal, only: str | None) -> Surfaced:
        if only is not None:
            # Nobody else can read the conversation: its owner's reason is the answer.
            own = tuple(account for account in refusal.own if account.account_id == only)
            refusal = Refusal(own or refusal.passed_over)
        if self._last is not None:
            return surfaced(self._last.error, refusal.passed_over, native=self._turn.native)
        return nobody(refusal)
