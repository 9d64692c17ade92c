"""Which model serves a request: the one that is meant by the name it was asked for, or one that stands in for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from openmaas.catalog.book import Model
from openmaas.catalog.face import Offers
from openmaas.core.errors import (
    InsufficientFunds,
    LimitReached,
    ModelNotAllowed,
    ModelUnknown,
    NoReplica,
    OpenmaasError,
    QueueFull,
)
from openmaas.identity.face import Caller
from openmaas.relay.lines.replicas import Replicas

#: What refuses a request before it is sent: the model has no place for it, or the sender is to have none.
_NO_PLACE = NoReplica, QueueFull
_NOT_FOR_HIM = InsufficientFunds, LimitReached


def offered(offers: Offers, name: str, caller: Caller) -> list[Model]:
    """The model that is meant, and those that may stand in for it. Raises ``ModelUnknown``, ``ModelNotAllowed``."""
    model = offers.find(name, caller.organisation_id, caller.project_id)
    if model is None:
        raise ModelUnknown(f"there is no model {name!r}", field="model")
    if caller.models is not None and model.name not in caller.models:
        raise ModelNotAllowed(f"this key may not use {model.name!r}", field="model")
    return [model, *offers.fallbacks(model, caller.organisation_id, caller.models)] if model.fallbacks else [model]


async def first_that_takes(
    models: Sequence[Model], replicas: Replicas, serve: Callable[[Model], Awaitable[None]]
) -> None:
    """Let the first of them ``serve`` that takes the request; who may not have one that stands in is refused as if
    there were none. Raises what the first said."""
    refusal: OpenmaasError | None = None
    for model in models:
        if model is not models[-1] and not replicas.line(model.name).ready:  # nobody waits for it while another may do
            refusal = refusal or NoReplica(f"{model.name} has no replica that is ready", retry_after_s=5)
            continue
        try:
            await serve(model)
            return
        except (*_NO_PLACE, *_NOT_FOR_HIM) as error:
            if refusal is None and isinstance(error, _NOT_FOR_HIM):
                raise
            refusal = refusal or error
    assert refusal is not None
    raise refusal
