"""What a relay refused, as one of our own errors again, for whoever asked it on behalf of somebody and answers them."""

from __future__ import annotations

from functools import cache

from openmaas.core.errors import (
    EngineFailed,
    FieldInvalid,
    InsufficientFunds,
    LimitReached,
    ModelUnknown,
    NoReplica,
    NotAllowed,
    OpenmaasError,
    Overloaded,
)
from openmaas.work.asking import Told, judge, said_by

#: What Zhipu's wire says in numbers.
_NUMBERS: dict[str, type[OpenmaasError]] = {
    "1113": InsufficientFunds,
    "1211": ModelUnknown,
    "1214": FieldInvalid,
    "1220": NotAllowed,
    "1302": LimitReached,
    "1305": Overloaded,
    "1312": NoReplica,
}


def refusal_of(told: Told) -> OpenmaasError:
    """An error as the relay told it on OpenAI's wire or Zhipu's, to be told again in the words of another."""
    if told.status == 0:
        return Overloaded("no relay answered", retry_after_s=1)
    inner = said_by(told)
    kind = _kinds().get(str(inner.code), EngineFailed)
    detail = inner.message.removeprefix(f"{(kind.__doc__ or '').rstrip('.')}: ").removesuffix(f" {kind.hint}")
    if str(inner.code) in _NUMBERS:
        detail = detail.partition("。 ")[2]  # behind Zhipu's own sentence, which will be said again
    error = kind("" if detail == kind.__doc__ else detail)
    error.field, error.retry_after_s = inner.param, judge(told)[1] or None
    return error


@cache
def _kinds() -> dict[str, type[OpenmaasError]]:
    """The errors by their code; of several, the one that the others are kinds of."""
    found: dict[str, type[OpenmaasError]] = dict(_NUMBERS)
    level: list[type[OpenmaasError]] = [OpenmaasError]
    while level:
        for kind in level:
            found.setdefault(kind.code, kind)
        level = [below for kind in level for below in kind.__subclasses__()]
    return found
