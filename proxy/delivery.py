"""Streams an account's answer to the client, and learns from how it ends."""

from __future__ import annotations

import asyncio

from codexproxy.http import TransportFailed
from proxy import limits
from proxy.attempts import Served, Services, Turn
from proxy.figures import pool_window
from proxy.headers import HeaderList, pool_limits, returned, server_timing
from proxy.outcomes import UpstreamError, classify
from proxy.sinks import Ending, Sink
from proxy.sse import EventTooLarge
from proxy.stream import Reader
from proxy.upstream import broken, server_error
from requestlogs.records import Record, TokenCounts


def limit_headers(services: Services) -> HeaderList:
    """The pool's figures, in place of one account's."""
    now = services.clock()
    candidates = list(services.pool.candidates())
    return pool_limits(pool_window(candidates, "primary", now), pool_window(candidates, "secondary", now))


# One of them is about a token. Inside a JSON string the quotes would be escaped.
_PIECE = b'"delta":'


async def deliver(served: Served, sink: Sink, turn: Turn, services: Services) -> None:
    """Pass on what comes, as it comes, to the end. The record is complete afterwards."""
    record = turn.record
    record.account_id = served.member.candidate.account_id
    record.first_token_ms = served.attempt.first_event_ms
    try:
        sent = [*returned(served.response.headers), *limit_headers(services)]
        if record.split is not None:
            sent.append(server_timing(record.split))
        record.pieces_sent += served.first.count(_PIECE) if sink.is_stream else 0
        await sink.begin(sent, served.first)
        broken_off = await _relay(served, sink, record)
        error = _conclude(served, turn, services, broken_off)
        await sink.end(Ending(error, broken_off is None, served.stream.response_id))
    except asyncio.CancelledError:
        if served.stream.terminal:
            # The client had everything and left before the connection was read to its end.
            _conclude(served, turn, services, None)
        raise
    finally:
        served.attempt.ended_ms = turn.elapsed_ms()
        read_usage(record, served.stream)
        await served.close()


async def _relay(served: Served, sink: Sink, record: Record) -> UpstreamError | None:
    """Forward until the end; what broke, if something did."""
    stream = served.stream
    try:
        await _pass_on(served, sink, record)
        if stream.terminal:
            await _to_the_end(served, sink)
            return None
    except TransportFailed as failure:
        if stream.terminal:
            return None
        if failure.kind == "timeout":
            return broken(failure)
    except EventTooLarge as error:
        return UpstreamError(None, server_error("stream_event_too_large", str(error)))
    message = "Upstream ended the stream before the answer was complete."
    return UpstreamError(None, server_error("stream_incomplete", message))


async def _pass_on(served: Served, sink: Sink, record: Record) -> None:
    """What comes, as it comes, until it is over."""
    stream = served.stream
    if stream.is_over:
        return
    async for block in served.rest:
        passed = stream.feed(block)
        if passed:
            if sink.is_stream:
                record.pieces_sent += passed.count(_PIECE)
            await sink.write(passed)
        if stream.is_over:
            return


async def _to_the_end(served: Served, sink: Sink) -> None:
    """What follows the terminal event, briefly: a connection that is read to its end can be used again."""
    try:
        if served.response.has_ended:
            # As most have by now: a timer would cost more than what is left.
            await _pass_on_all(served, sink)
            return
        async with asyncio.timeout(limits.END_OF_STREAM_S):
            await _pass_on_all(served, sink)
    except (TimeoutError, TransportFailed, EventTooLarge):
        return


async def _pass_on_all(served: Served, sink: Sink) -> None:
    async for block in served.rest:
        await sink.write(served.stream.feed(block))


def _conclude(
    served: Served, turn: Turn, services: Services, trouble: UpstreamError | None
) -> UpstreamError | None:
    """Write down how it ended, and return what failed; a late failure is judged like an early one."""
    record, stream = turn.record, served.stream
    if trouble is None and stream.terminal in ("response.failed", "error"):
        trouble = UpstreamError(stream.error_status, stream.error, limit_id=stream.error_limit_id)
    if trouble is not None:
        outcome = classify(trouble, services.clock())
        services.pool.learn(served.member, outcome, turn.request.model)
        served.attempt.outcome, served.attempt.code = outcome.name, trouble.code or None
        record.status, record.error_code = "error", trouble.code or "upstream_error"
        record.error_message = trouble.message[:500]
    elif stream.terminal == "response.incomplete":
        record.status, record.error_message = "error", "The response is incomplete."
    else:
        record.status = "success"
    return trouble


def read_usage(record: Record, stream: Reader) -> None:
    usage = stream.usage
    record.model = stream.model or record.model
    record.service_tier = stream.service_tier or record.service_tier
    if usage is None:
        return
    inputs, outputs = usage.input_tokens_details, usage.output_tokens_details
    record.tokens = TokenCounts(
        input=usage.input_tokens,
        cached_input=inputs.cached_tokens if inputs else None,
        output=usage.output_tokens,
        reasoning=outputs.reasoning_tokens if outputs else None,
    )
