"""One table from our errors to the OpenAI wire's. https://platform.openai.com/docs/guides/error-codes

SDKs choose their exception by the status and show ``error.message``; they retry 408, 409, 429 and 5xx by themselves, so
what must not be retried has another status (our 409s say so with ``x-should-retry: false``).
"""

from __future__ import annotations

import msgspec

from openmaas.core import errors as e
from openmaas.core.errors import OpenmaasError

#: Status and ``error.type``; a class that is not here uses its nearest ancestor's row.
TABLE: dict[type[OpenmaasError], tuple[int, str]] = {
    e.OpenmaasError: (500, "server_error"),
    e.Refused: (400, "invalid_request_error"),
    e.TooLarge: (413, "invalid_request_error"),
    e.NotRecognised: (401, "authentication_error"),
    e.NotAllowed: (403, "permission_error"),
    e.NotFound: (404, "invalid_request_error"),
    e.MethodUnknown: (405, "invalid_request_error"),
    e.Conflict: (409, "conflict_error"),
    e.InsufficientFunds: (429, "insufficient_quota"),
    e.LimitReached: (429, "rate_limit_error"),
    e.Failed: (500, "server_error"),
    e.EngineFailed: (502, "server_error"),
    e.EngineTimedOut: (504, "server_error"),
    e.Overloaded: (503, "server_error"),
    e.JournalFull: (503, "server_error"),
    e.StoreFailed: (503, "server_error"),
}
#: Sent again they would fail again; the header is what OpenAI's SDKs obey.
NO_RETRY = (e.InsufficientFunds, e.Conflict)


def status_of(error: OpenmaasError) -> tuple[int, str]:
    """The status and the type of an error."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def render(error: OpenmaasError) -> tuple[int, bytes, bytes]:
    """Status, extra header lines and JSON body of an error."""
    status, kind = status_of(error)
    body = {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}
    headers = b""
    if error.retry_after_s is not None:
        headers += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
    if isinstance(error, NO_RETRY):
        headers += b"x-should-retry: false\r\n"
    return status, headers, msgspec.json.encode(body)


#: What our own engines say in the words of our own tree; said once, not twice.
_SHARED: dict[str, type[e.BadRequest]] = {
    kind.code: kind for kind in (e.ContextExceeded, e.FieldInvalid, e.BodyInvalid)
}


class _Inner(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | int | None = None


class _Outer(msgspec.Struct):
    error: _Inner | str = ""


def engine_error(status: int, body: bytes) -> OpenmaasError:
    """What an engine's refusal means to our caller: their mistake stays theirs, everything else is ours to mend."""
    try:
        told = msgspec.json.decode(body, type=_Outer).error
    except msgspec.MsgspecError:
        told = ""
    inner = told if isinstance(told, _Inner) else _Inner(message=told)
    if status in (400, 404, 413, 422):
        kind = _SHARED.get(str(inner.code), e.EngineRefused)
        detail = inner.message.removeprefix(f"{(kind.__doc__ or '').rstrip('.')}: ").removesuffix(f" {kind.hint}")
        return kind(detail or f"it answered {status}", field=inner.param)
    if status == 429:
        return e.Overloaded("the engine is at its limit", retry_after_s=1)
    return e.EngineFailed(f"it answered {status}")
