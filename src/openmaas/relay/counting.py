"""How many tokens a prompt has, asked of the engine that would answer it.

It is exact, because the engine applies its own template; free, for nothing is generated; and outside every limit that
is sold, for coding tools ask two dozen times at once. What bounds it is how many may be under way at the same time. Of
a vendor that cannot count (its endpoint has no ``/tokenize``) it is an estimate that says so: a client without any
answer would send a request to find out, and pay for it.
"""

from __future__ import annotations

import msgspec

from openmaas.core.bounds import COUNTS_AT_ONCE
from openmaas.core.errors import EngineFailed
from openmaas.dialects.dialect import Ask, Count, Ticket
from openmaas.dialects.openai.errors import engine_error
from openmaas.limits.seats import Seats
from openmaas.relay.door.message import Answer, Request
from openmaas.relay.journey import Journey
from openmaas.relay.lines.replica import Replica
from openmaas.relay.models import offered
from openmaas.relay.upstream.pool import Pool

#: What of a request is part of its prompt, in the words of the wire.
_PROMPT = (
    "model",
    "messages",
    "prompt",
    "tools",
    "tool_choice",
    "chat_template_kwargs",
    "thinking",
    "reasoning_effort",
)
_BYTES_A_TOKEN = 4  #: of an estimate
_CANNOT = (401, 403, 404, 405, 501)  #: of an endpoint that has no such path; gateways hide that behind the first two
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON = b"content-type: application/json\r\n"
_ESTIMATED = b"x-openmaas-estimated: true\r\n"


class _Told(msgspec.Struct):
    count: int
    max_model_len: int | None = None


class Counting:
    """Answers requests for a count."""

    def __init__(self, journey: Journey) -> None:
        self._journey = journey
        self._seats = Seats(COUNTS_AT_ONCE)

    async def answer(self, request: Request, answer: Answer, request_id: str) -> None:
        """Answer one. Raises what refuses it."""
        journey = self._journey
        caller, counter = await journey.recognise(request), journey.entrances.counts[request.head.path]
        caller.need("inference")
        ask = counter.dialect.ask(counter.kind, await request.whole())
        with self._seats.take(caller.organisation_id):
            await journey.keeping.recall(ask, caller)
            models = offered(journey.catalog.value, ask.model, caller)
            model = next((each for each in models if journey.replicas.line(each.name).ready), models[0])
            ask.model = model.name
            replica = journey.replicas.line(model.name).nearest()
            found = await tokens_of(journey.pool, replica, ask, model.context_tokens)
        tag = counter.dialect.tag(request_id) + (_ESTIMATED if found.estimated else b"")
        answer.whole(200, _JSON + tag, counter.say(found, Ticket(request_id, journey.clock.wall_ms(), ask.model)))


async def tokens_of(pool: Pool, replica: Replica, ask: Ask, context_tokens: int) -> Count:
    """The tokens of the prompt of ``ask``, as the engine of ``replica`` counts them (vLLM's ``POST /tokenize``).
    Raises ``EngineFailed`` and what the engine refuses."""
    body = _members.decode(ask.forward(replica.served_name, 1, replica.manner))
    asked = {name: body[name] for name in _PROMPT if name in body}
    if "messages" in asked:
        asked["add_generation_prompt"] = msgspec.Raw(b"true")
    # It stands beside vLLM's /v1, not under it.
    target = replica.place.prefix.removesuffix(b"/v1") + b"/tokenize"
    status, _, told = await pool.ask(replica.place, target, msgspec.json.encode(asked))
    if status == 200:
        try:
            found = msgspec.json.decode(told, type=_Told)
        except msgspec.MsgspecError:
            raise EngineFailed("it did not say a count") from None
        return Count(found.count, found.max_model_len or context_tokens)
    if replica.local or status not in _CANNOT:
        raise engine_error(status, told)
    size_bytes = sum(len(value) for value in asked.values())
    return Count(max(1, size_bytes // _BYTES_A_TOKEN), context_tokens, estimated=True)
