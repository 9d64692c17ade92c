"""Our errors as the Responses wire has them inside a stream: ``response.failed`` with a code.

Refused before anything was sent, an error is what it is on every path of OpenAI. codex acts on the code: it makes the
conversation shorter at ``context_length_exceeded``, stops at ``insufficient_quota`` and ``invalid_prompt``, waits as
long as the words ``try again in 2s`` say at ``rate_limit_exceeded``, and asks again at any other.
"""

from __future__ import annotations

import math

from openmaas.core import errors as e
from openmaas.core.errors import OpenmaasError

#: A class that is not here uses its nearest ancestor's row.
TABLE: dict[type[OpenmaasError], str] = {
    e.OpenmaasError: "server_error",
    e.Refused: "invalid_prompt",
    e.BadRequest: "invalid_prompt",
    e.ContextExceeded: "context_length_exceeded",
    e.NotRecognised: "invalid_prompt",
    e.NotAllowed: "invalid_prompt",
    e.NotFound: "invalid_prompt",
    e.Conflict: "invalid_prompt",
    e.InsufficientFunds: "insufficient_quota",
    e.OverPlan: "invalid_prompt",  # it alone is more than the plan allows: waiting does not help
    e.LimitReached: "rate_limit_exceeded",
    e.OverLimit: "invalid_prompt",  # it alone is more than is allowed: waiting does not help
    e.ClientLeft: "invalid_prompt",
    e.ExtraMissing: "invalid_prompt",
    e.SettingInvalid: "invalid_prompt",
    e.Failed: "server_error",
    e.EngineFailed: "server_error",
    e.DeviceLost: "server_error",
    e.Overloaded: "server_error",
    e.QueueFull: "rate_limit_exceeded",
    e.JournalFull: "server_error",
    e.StoreFailed: "server_error",
    e.PullFailed: "server_error",
    e.Internal: "server_error",
}
#: What a caller that takes nothing but events is told in them, though nothing was sent: the codes that clients act on.
#: The same said by a status is final for codex, and its words are lost.
IN_EVENTS = (e.ContextExceeded, e.InsufficientFunds, e.LimitReached, e.QueueFull)


def failure(error: OpenmaasError) -> dict[str, str]:
    """``error`` of a failed response."""
    code = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    said = error.message
    if code == "rate_limit_exceeded":
        said += f" Please try again in {max(1, math.ceil(error.retry_after_s or 1))}s."
    return {"code": code, "message": said}
