"""The journey of a request: from the socket to the receipt. Read this file first.

    1 recognise   key                   → Caller        identity
    2 read        bytes                 → Ask           dialects
    3 admit       rates, in flight      → a Seat        limits
    4 hold        the most it can cost  → a Hold        ledger
    5 route       model, prefix, load   → a Grant       relay/lines
    6 relay       bytes flow            → Usage         relay/flow
    7 settle      what was really used  → a journal line; seat and rest of the hold come back

Two promises: nothing is generated before the most it could cost is set aside, and every hold ends exactly once, with
what was really used. It is the only place that knows the order. One coroutine per request; seat, hold and replica are
context managers, so that whatever happens they come back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from openmaas.catalog.book import Model
from openmaas.catalog.face import Offers
from openmaas.core.clock import Clock
from openmaas.core.errors import OpenmaasError
from openmaas.core.parents import comes_back
from openmaas.dialects.dialect import COMPOSED, TARGETS, Ask, Ticket, language_of, rate_headers
from openmaas.dialects.entrances import Entrance, Entrances
from openmaas.identity.face import Caller, Keys
from openmaas.ledger.prices import PriceBook
from openmaas.ledger.spending.funds import Funds, Use
from openmaas.ledger.spending.holds import Hold
from openmaas.ledger.spending.purse import Purse
from openmaas.ledger.writing.journal import Journal
from openmaas.ledger.writing.records import Closed, Opened
from openmaas.limits.face import Limits
from openmaas.relay.door.message import Answer, Request
from openmaas.relay.flow import EVENTS, Flow, refused_in_events
from openmaas.relay.handover import Handover
from openmaas.relay.keeping import Keeping
from openmaas.relay.lines.line import PATIENCE, patience_s
from openmaas.relay.lines.replica import Grant
from openmaas.relay.lines.replicas import Replicas
from openmaas.relay.metrics import Metrics
from openmaas.relay.models import Visit, first_that_takes, offered
from openmaas.relay.repeat import HEADER, Repeat, Repeats
from openmaas.relay.running import Running
from openmaas.relay.upstream.pool import Pool
from openmaas.store.changes import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """All that a request meets on its way, put together by the house."""

    clock: Clock
    entrances: Entrances
    keys: Keys
    catalog: Snapshot[Offers]
    prices: Snapshot[PriceBook]
    funds: Funds
    limits: Limits
    purse: Purse
    journal: Journal
    replicas: Replicas
    pool: Pool
    repeats: Repeats
    keeping: Keeping
    handover: Handover
    running: Running
    metrics: Metrics

    async def infer(self, request: Request, answer: Answer, request_id: str) -> None:
        """One inference request. Raises what refuses it before anything has been sent."""
        caller = await self.recognise(request)
        caller.need("inference")
        answer.stays = comes_back(caller.job_id)
        entrance = self.entrances.paths[request.head.path]
        ask = entrance.dialect.ask(entrance.kind, await request.whole())
        answer.last_words = lambda error: refused_in_events(ask, request_id, self.clock, error)
        await self.keeping.recall(ask, caller)
        if ask.kind == COMPOSED:  # its parts come back, one by one and on its behalf
            offered(self.catalog.value, ask.model, caller)  # nothing is searched for a chat that nobody can answer
            await self.handover.pass_on(request, answer, entrance.dialect.tag(request_id))
        elif HEADER not in request.head.headers:
            await self._serve(caller, ask, entrance, answer, request_id, None)
        else:
            async with self.repeats.claim(request, answer, caller, request_id) as once:
                if not once.answered:
                    await self._serve(caller, ask, entrance, answer, request_id, once)

    async def recognise(self, request: Request) -> Caller:
        """The caller behind the request's key. Raises ``NotRecognised``."""
        get = request.head.headers.get
        return await self.keys.recognise(get(b"authorization") or get(b"x-bigmodel-authorization"), get(b"x-api-key"))

    def refuse(self, answer: Answer, error: OpenmaasError, request_id: str) -> None:
        """Tell the client no, in its own dialect, if there is still a way to."""
        self.metrics.refused(error.code)
        if answer.gone:
            return
        head = answer.request.head
        dialect, language = self.entrances.dialect_of(head.path, head.headers), language_of(head.headers)
        in_events = isinstance(error, dialect.told_in_events) and head.headers.get(b"accept") == b"text/event-stream"
        if in_events and not answer.started:
            answer.start(200, EVENTS + dialect.tag(request_id), None)
        if answer.started:  # too late for a status: the stream says it, and ends
            answer.end(answer.last_words(error) or dialect.broken(error, language, request_id))
        else:
            status, headers, body = dialect.refusal(error, language, request_id)
            answer.whole(status, b"content-type: application/json\r\n" + headers + dialect.tag(request_id), body)

    async def _serve(
        self, caller: Caller, ask: Ask, entrance: Entrance, answer: Answer, request_id: str, once: Repeat | None
    ) -> None:
        """By the model that is meant, or one that stands in for it."""
        until_s = self.clock.mono_s() + patience_s(answer.request.head.headers.get(PATIENCE))
        visit = Visit(caller, ask, entrance, answer, request_id, once, self.clock.wall_ms(), until_s)
        await first_that_takes(visit, offered(self.catalog.value, ask.model, caller), self.replicas, self._by)

    async def _by(self, visit: Visit, model: Model) -> None:
        """Steps 3 to 7."""
        caller, ask, answer, once = visit.caller, visit.ask, visit.answer, visit.once
        request_id, opened_ms = visit.request_id, visit.opened_ms
        ask.model, context = model.name, model.context_tokens
        output = ask.output_tokens_max(model.output_tokens_default, context)
        prompt_max, output_max = ask.prompt_tokens_max(context), output * ask.choices
        who = caller.organisation_id, caller.project_id, caller.key_id
        batch = caller.price_class == "batch"
        use = Use(ask.model, visit.entrance.way, *who, prompt_max, output_max, opened_ms, batch, ask.units)
        funding = await self.funds.of(caller.organisation_id)
        prompt, line = min(ask.size_bytes // 4, context), self.replicas.line(ask.model)
        turn = line.turn(caller, ask, self.limits.precedence(who, ask.model), prompt, output_max, visit.until_s)
        with (
            await self.limits.admit(who, ask.model, prompt + output_max, funding.seats(use)) as seat,
            await self.purse.hold(funding.sources(use, self.prices.value)) as hold,
            await line.take(turn, ask, answer) as grant,
        ):
            visit.placed, replica = True, grant.replica
            whose, ran = (caller.key_id, caller.project_id, caller.organisation_id), (ask.model, replica.deployment_id)
            opened = Opened(request_id, opened_ms, *whose, *ran, tuple(hold.legs), batch, caller.job_id)
            body = ask.forward(replica.served_name, output, replica.manner)
            ticket, tag = Ticket(request_id, opened_ms, ask.model), visit.entrance.dialect.tag(request_id)
            flow = Flow(answer, ask, replica.served_name, context, output_max, self.clock, ticket, tag)
            seat.usage, grant.progress = flow.usage, flow.said
            if seat.standings:
                answer.extra += rate_headers(seat.standings)
            if once is not None:
                once.record(flow)
            await self._relay(body, flow, grant, opened, hold, once)
            await self.keeping.keep(ask, opened, flow)
            flow.finish()

    async def _relay(
        self, body: bytes, flow: Flow, grant: Grant, opened: Opened, hold: Hold, once: Repeat | None
    ) -> None:
        """Steps 6 and 7. Whatever the engine does, ``closed`` follows ``opened``. Raises what the engine raised."""
        promise, hold.opened = self.journal.open(opened), True
        self.running.flows[opened.request_id] = flow
        try:
            await self.journal.durable()
            if not flow.gone:
                flow.attach(grant.send(self.pool, TARGETS[flow.kind], _ENGINE_HEADERS + flow.headers, body, flow))
                await flow.finished
                if once is not None and flow.error is None:
                    await once.keep(flow)  # first: what is charged can be had again, whenever we die
        finally:
            del self.running.flows[opened.request_id]
            flow.detach()
            usage = flow.usage()
            paid, excess = self.prices.value.bill(opened.legs, usage, opened.opened_ms, batch=opened.batch)
            waited_ms = max(flow.first_byte_at_ms - opened.opened_ms, 0)
            end = self.clock.wall_ms(), waited_ms, flow.outcome(), usage, paid, excess, flow.delivered_tokens(usage)
            closed = Closed(opened, *end)
            self.journal.close(closed, promise)
            hold.settle(paid)
            grant.settle(usage, self.clock.mono_s(), flow.answered)
            flow.charged = any(paid)
            self.metrics.closed(closed)
        await self.journal.durable()
        if flow.error is not None:
            raise flow.error


_ENGINE_HEADERS = b"content-type: application/json\r\n"
