"""One table from our errors to the OpenAI wire's. https://platform.openai.com/docs/guides/error-codes

SDKs choose their exception by the status and show ``error.message``; they retry 408, 409, 429 and 5xx by themselves, so
what must not be retried has another status (our 409s say so with ``x-should-retry: false``).
"""

from __future__ import annotations

import re

import msgspec

from openmaas.core import errors as e
from openmaas.core.errors import OpenmaasError
from openmaas.dialects.dialect import told_by_headers

#: Status and ``error.type``; a class that is not here uses its nearest ancestor's row.
TABLE: dict[type[OpenmaasError], tuple[int, str]] = {
    e.OpenmaasError: (500, "server_error"),
    e.Refused: (400, "invalid_request_error"),
    e.BadRequest: (400, "invalid_request_error"),
    e.TooLarge: (413, "invalid_request_error"),
    e.TooSlow: (408, "invalid_request_error"),
    e.EncodingUnknown: (415, "invalid_request_error"),
    e.NotRecognised: (401, "authentication_error"),
    e.NotAllowed: (403, "permission_error"),
    e.NotFound: (404, "invalid_request_error"),
    e.MethodUnknown: (405, "invalid_request_error"),
    e.ClientLeft: (400, "invalid_request_error"),
    e.SettingInvalid: (400, "invalid_request_error"),
    e.ExtraMissing: (501, "server_error"),
    e.Conflict: (409, "conflict_error"),
    e.InsufficientFunds: (429, "insufficient_quota"),
    e.FundsMissing: (409, "conflict_error"),  # nothing is asked of a model: no limit is reached, and waiting is no help
    e.LimitReached: (429, "rate_limit_error"),
    e.Failed: (500, "server_error"),
    e.EngineFailed: (502, "server_error"),
    e.DeviceLost: (502, "server_error"),
    e.EngineTimedOut: (504, "server_error"),
    e.Overloaded: (503, "server_error"),
    e.QueueFull: (429, "rate_limit_error"),
    e.JournalFull: (503, "server_error"),
    e.StoreFailed: (503, "server_error"),
    e.PullFailed: (500, "server_error"),
    e.Internal: (500, "server_error"),
}


def status_of(error: OpenmaasError) -> tuple[int, str]:
    """The status and the type of an error."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def render(error: OpenmaasError) -> tuple[int, bytes, bytes]:
    """Status, extra header lines and JSON body of an error."""
    status, kind = status_of(error)
    body = {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}
    return status, told_by_headers(error), msgspec.json.encode(body)


#: What our own engines say in the words of our own tree; said once, not twice.
_SHARED: dict[str, type[e.BadRequest]] = {
    kind.code: kind for kind in (e.ContextExceeded, e.FieldInvalid, e.BodyInvalid)
}
#: How vendors say that a prompt is too long, when not by our code: vLLM, SGLang and llama.cpp by their words, Zhipu by
#: a number. https://docs.bigmodel.cn, "error codes"
_TOO_LONG = re.compile(
    r"(?i)maximum context length|context (?:size|length|window)|prompt is too long|longer than the model"
)
_TOO_LONG_CODE = "1261"
#: How vLLM says that prompt and ``max_tokens`` together do not fit, now and before.
_TOGETHER = (
    re.compile(r"has (?P<prompt>\d+) input tokens \((?P<output>\d+) > (?P<context>\d+)"),
    re.compile(r"length is (?P<context>\d+) tokens.*\((?P<prompt>\d+) in the messages, (?P<output>\d+) in the compl"),
)
_NUMBER = re.compile(r"\b\d{3,}\b")


class _Inner(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | int | None = None
    prompt_tokens: int = 0
    context_tokens: int = 0


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
        if str(inner.code) == _TOO_LONG_CODE or (kind is e.EngineRefused and _TOO_LONG.search(inner.message)):
            kind = e.ContextExceeded
        detail = inner.message.removeprefix(f"{(kind.__doc__ or '').rstrip('.')}: ").removesuffix(f" {kind.hint}")
        found = kind(detail or f"it answered {status}", field=inner.param)
        if isinstance(found, e.ContextExceeded):
            found.counted(*_counts(inner))
        return found
    if status == 429:
        return e.Overloaded("the engine is at its limit", retry_after_s=1)
    return e.EngineFailed(f"it answered {status}")


def _counts(told: _Inner) -> tuple[int, int, int]:
    """How long the prompt was, what fits, and what was to be generated: as our engines or vLLM say it, else the largest
    number of the message and the first other one, which is the context in the words of every engine tried. 0 for what
    nobody said."""
    if told.prompt_tokens:
        return told.prompt_tokens, told.context_tokens, 0
    for form in _TOGETHER:
        if found := form.search(told.message):
            return int(found["prompt"]), int(found["context"]), int(found["output"])
    numbers = [int(each) for each in _NUMBER.findall(told.message)]
    most = max(numbers, default=0)
    context = next((each for each in numbers if each != most), 0)
    return (most, context, 0) if context else (0, 0, 0)
