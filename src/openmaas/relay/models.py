"""Which model serves a request: the one that is meant by the name it was asked for, or one that stands in for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from openmaas.catalog.book import Model
from openmaas.catalog.face import Offers
from openmaas.core.errors import ClientLeft, ModelNotAllowed, ModelUnknown, NoReplica, OpenmaasError, QueueFull
from openmaas.dialects.dialect import Ask
from openmaas.dialects.entrances import Entrance
from openmaas.identity.face import Caller
from openmaas.relay.door.message import Answer
from openmaas.relay.lines.replicas import Replicas
from openmaas.relay.repeat import Repeat

#: What lets another model stand in: this one cannot take the request.
_NO_PLACE = NoReplica, QueueFull


class Visit(msgspec.Struct):
    """A request that was read, until a model serves it: at most until ``until_s`` it waits, whichever it is."""

    caller: Caller
    ask: Ask
    entrance: Entrance
    answer: Answer
    request_id: str
    once: Repeat | None
    opened_ms: int
    until_s: float
    placed: bool = False  # a model serves it, and no other will


def offered(offers: Offers, name: str, caller: Caller) -> list[Model]:
    """The model that is meant, and those that may stand in for it. Raises ``ModelUnknown``, ``ModelNotAllowed``."""
    model = offers.find(name, caller.organisation_id, caller.project_id)
    if model is None:
        raise ModelUnknown(f"there is no model {name!r}", field="model")
    if caller.models is not None and model.name not in caller.models:
        raise ModelNotAllowed(f"this key may not use {model.name!r}", field="model")
    return [model, *offers.fallbacks(model, caller.organisation_id, caller.models)] if model.fallbacks else [model]


async def first_that_takes(
    visit: Visit, models: Sequence[Model], replicas: Replicas, serve: Callable[[Visit, Model], Awaitable[None]]
) -> None:
    """Let the first of them ``serve`` that takes the request. When none does that is ready, it waits for the first; who
    may not have one that stands in is refused as if there were none. Batch work has no haste, and goes to another while
    its model is down, not while it is busy."""
    if len(models) == 1:
        await serve(visit, models[0])
        return
    refusal: OpenmaasError | None = None
    for model in models:
        if not replicas.line(model.name).ready:
            continue
        try:
            await serve(visit, model)
            return
        except OpenmaasError as error:
            if visit.placed or isinstance(error, ClientLeft):
                raise
            if model is models[0]:
                if not isinstance(error, NoReplica if visit.caller.price_class == "batch" else _NO_PLACE):
                    raise
                refusal = error
    visit.ask.model = models[0].name
    if refusal is not None:
        raise refusal
    await serve(visit, models[0])
