"""One table from our errors to Anthropic's. https://docs.anthropic.com/en/api/errors

Claude Code decides by the status, by ``x-should-retry`` and by two sentences. It shortens the conversation when an
error says ``prompt is too long: N tokens > M maximum``, asks for less when it says ``input length and `max_tokens`
exceed context limit: N + O > M``, and gives up on any other 400. What it does at each status was seen with version 2.1:
it tries a bare 401 for minutes, which is why ours say that there is no use (``told_by_headers``).
"""

from __future__ import annotations

import msgspec

from openmaas.core import errors as e
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.dialect import told_by_headers

#: Status and ``error.type``; a class that is not here uses its nearest ancestor's row.
TABLE: dict[type[OpenmaasError], tuple[int, str]] = {
    e.OpenmaasError: (500, "api_error"),
    e.Refused: (400, "invalid_request_error"),
    e.BadRequest: (400, "invalid_request_error"),
    e.TooLarge: (413, "request_too_large"),
    e.TooSlow: (408, "timeout_error"),
    e.EncodingUnknown: (415, "invalid_request_error"),
    e.NotRecognised: (401, "authentication_error"),
    e.NotAllowed: (403, "permission_error"),
    e.NotFound: (404, "not_found_error"),
    e.MethodUnknown: (405, "invalid_request_error"),
    e.Conflict: (409, "conflict_error"),
    e.InsufficientFunds: (402, "billing_error"),
    e.PlanExhausted: (429, "rate_limit_error"),  # it is free again with time, as a limit is
    e.LimitReached: (429, "rate_limit_error"),
    e.ClientLeft: (400, "invalid_request_error"),
    e.ExtraMissing: (501, "api_error"),
    e.SettingInvalid: (400, "invalid_request_error"),
    e.Failed: (500, "api_error"),
    e.EngineFailed: (502, "api_error"),
    e.DeviceLost: (502, "api_error"),
    e.EngineTimedOut: (504, "timeout_error"),
    e.Overloaded: (529, "overloaded_error"),
    e.JournalFull: (529, "overloaded_error"),
    e.StoreFailed: (529, "overloaded_error"),
    e.PullFailed: (500, "api_error"),
    e.Internal: (500, "api_error"),
}
#: How the second sentence goes on.
_LESS = "decrease input length or `max_tokens` and try again"


def status_of(error: OpenmaasError) -> tuple[int, str]:
    """The status and the type of an error."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def render(error: OpenmaasError, request_id: str) -> tuple[int, bytes, bytes]:
    """Status, extra header lines and JSON body of an error."""
    status, kind = status_of(error)
    told = {"type": kind, "message": _message(error)}
    body = {"type": "error", "error": told, "request_id": request_id}
    return status, told_by_headers(error), msgspec.json.encode(body)


def _message(error: OpenmaasError) -> str:
    if isinstance(error, e.ContextExceeded) and error.output_tokens:
        sizes = f"{error.prompt_tokens} + {error.output_tokens} > {error.context_tokens}"
        return f"input length and `max_tokens` exceed context limit: {sizes}, {_LESS}"
    if isinstance(error, e.ContextExceeded) and error.context_tokens:
        return f"prompt is too long: {error.prompt_tokens} tokens > {error.context_tokens} maximum"
    return error.message
