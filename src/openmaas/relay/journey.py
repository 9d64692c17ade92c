"""The journey of a request: from the socket to the receipt. Read this file first.

    1 recognise   key                   → Caller        identity
    2 read        bytes                 → Ask           dialects
    3 admit       requests in flight    → a Seat        limits
    4 hold        the most it can cost  → a Hold        ledger
    5 route       model, load           → a Replica     relay/replicas
    6 relay       bytes flow            → Usage         relay/flow
    7 settle      what was really used  → a journal line; seat and rest of the hold come back

Two promises: nothing is generated before the most it could cost is set aside, and every hold ends exactly once, with
what was really used. It is the only place that knows the order. One coroutine per request; seat, hold and replica are
context managers, so that whatever happens they come back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from openmaas.catalog.face import Offers
from openmaas.core.clock import Clock
from openmaas.core.errors import ModelNotAllowed, ModelUnknown, OpenmaasError, Refused
from openmaas.core.usage import Usage
from openmaas.dialects.openai.errors import render
from openmaas.dialects.openai.request import PATHS, Ask
from openmaas.identity.face import Caller, Keys
from openmaas.ledger.book import wallet_id
from openmaas.ledger.journal import Journal
from openmaas.ledger.prices import Price, PriceBook
from openmaas.ledger.purse import Hold, Purse
from openmaas.ledger.records import Closed, Opened
from openmaas.limits.seats import Seats
from openmaas.relay.door import Answer, Request
from openmaas.relay.flow import Flow
from openmaas.relay.metrics import Metrics
from openmaas.relay.repeat import Repeats
from openmaas.relay.replicas import Replica, Replicas
from openmaas.relay.running import Running
from openmaas.relay.upstream import Exchange, Pool
from openmaas.store.changes import Snapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Journey:
    """All that a request meets on its way, put together by the house."""

    clock: Clock
    keys: Keys
    catalog: Snapshot[Offers]
    prices: Snapshot[PriceBook]
    seats: Seats
    purse: Purse
    journal: Journal
    replicas: Replicas
    pool: Pool
    repeats: Repeats
    running: Running
    metrics: Metrics

    async def infer(self, request: Request, answer: Answer, request_id: str) -> None:
        """One inference request. Raises what refuses it before anything has been sent."""
        caller = await self.recognise(request)
        caller.need("inference")
        ask = Ask(PATHS[request.path], request.body)
        price, context, output = self.offer(ask, caller)
        wallet = wallet_id(caller.organisation_id, price.currency)
        async with self.repeats.claim(request, answer, caller, request_id) as repeat:
            if repeat.answered:
                return
            worst = price.worst(ask.prompt_tokens_max(context), output * ask.choices)
            with (
                self.seats.take(caller.organisation_id),
                await self.purse.hold(wallet, worst) as hold,
                await self.replicas.line(ask.model).take(caller.organisation_id) as replica,
            ):
                opened = self._opened(request_id, caller, ask, price, replica, hold)
                flow = Flow(answer, ask, self.clock, served_name=replica.served_name, headers=_tag(request_id))
                if repeat.wanted:
                    flow.recorded, repeat.ran = bytearray(), True
                await self._relay(answer, ask, replica, opened, price, hold, flow, output)
                await repeat.keep(flow)
                flow.finish()

    async def recognise(self, request: Request) -> Caller:
        """The caller behind the request's key. Raises ``NotRecognised``."""
        headers = request.headers
        return await self.keys.recognise(headers.get(b"authorization"), headers.get(b"x-api-key"))

    def offer(self, ask: Ask, caller: Caller) -> tuple[Price, int, int]:
        """Price, context and cap on the output of what is asked for. Raises ``ModelUnknown``, ``ModelNotAllowed``."""
        model = self.catalog.value.models.get(ask.model)
        if model is None:
            raise ModelUnknown(f"there is no model {ask.model!r}", field="model")
        if caller.models is not None and ask.model not in caller.models:
            raise ModelNotAllowed(f"this key may not use {ask.model!r}", field="model")
        price = self.prices.value.at(ask.model, self.clock.wall_ms())
        if price is None:
            raise ModelUnknown(f"{ask.model!r} has no price yet; `openmaas models price` sets one", field="model")
        return price, model.context_tokens, ask.output_tokens_max(model.output_tokens_default, model.context_tokens)

    def refuse(self, answer: Answer, error: OpenmaasError, request_id: str) -> None:
        """Tell the client no, if there is still a way to."""
        self.metrics.refused(error.code)
        status, headers, body = render(error)
        if answer.gone:
            return
        if answer.started:  # too late for a status: the stream says it, and ends
            answer.end([b"data: " + body + b"\n\n"])
        else:
            answer.whole(status, b"content-type: application/json\r\n" + headers + _tag(request_id), body)

    async def _relay(
        self,
        answer: Answer,
        ask: Ask,
        replica: Replica,
        opened: Opened,
        price: Price,
        hold: Hold,
        flow: Flow,
        output_tokens: int,
    ) -> None:
        """Steps 6 and 7. Whatever the engine does, ``closed`` follows ``opened``. Raises what the engine raised."""
        promise = self.journal.open(opened)
        usage, outcome = Usage(), "engine_failed"
        try:
            await self.journal.durable()
            if answer.gone:
                outcome = "client_closed"
                return
            exchange = await self._send(ask, replica, opened.request_id, output_tokens, flow)
            flow.attach(exchange)
            with self.running.watch(opened.request_id, flow):
                await flow.finished
            flow.detach()
            prompt_estimate = min(ask.size_bytes // 4, self.catalog.value.models[ask.model].context_tokens)
            usage = flow.usage(prompt_estimate)
            outcome = _outcome(answer, flow)
        finally:
            cost = price.charge(usage)
            amount = min(cost, hold.nanos)
            first_byte_ms = max(flow.first_byte_ms - opened.opened_ms, 0)
            closed = Closed(opened, self.clock.wall_ms(), first_byte_ms, outcome, usage, amount, cost - amount)
            self.journal.close(closed, promise)
            hold.settle(amount)
            self.metrics.closed(closed)
        await self.journal.durable()
        if flow.error is not None:
            raise flow.error

    async def _send(self, ask: Ask, replica: Replica, request_id: str, output: int, flow: Flow) -> Exchange:
        parts = ask.forward(replica.served_name, output)
        head = b"content-type: application/json\r\nx-request-id: %b\r\n" % request_id.encode()
        path = _ENGINE_PATHS[ask.kind]
        try:
            return await self.pool.open(replica.place, "POST", path, head, parts, flow)
        except OpenmaasError:
            replica.tell(ready=False)
            raise

    def _opened(self, request_id: str, caller: Caller, ask: Ask, price: Price, replica: Replica, hold: Hold) -> Opened:
        return Opened(
            request_id,
            self.clock.wall_ms(),
            caller.key_id,
            caller.project_id,
            caller.organisation_id,
            ask.model,
            replica.deployment_id,
            price.version,
            price.currency,
            hold.nanos,
        )


_ENGINE_PATHS = {kind: path.removeprefix("/v1") for path, kind in PATHS.items()}


def _outcome(answer: Answer, flow: Flow) -> str:
    if answer.gone:
        return "client_closed"
    if flow.error is None:
        return "done"
    return "engine_refused" if isinstance(flow.error, Refused) else "engine_failed"


def _tag(request_id: str) -> bytes:
    return b"x-request-id: %b\r\n" % request_id.encode()
