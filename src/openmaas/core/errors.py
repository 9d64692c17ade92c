"""Every way openmaas says no, as one drawn tree.

Two trunks: ``Refused`` is what the caller can mend, ``Failed`` is what we must mend. The docstring of a class is its
public message, ``code`` its stable name, ``hint`` the next step. Dialects turn a class into a status and a body
(``dialects/openai/errors.py``); nothing here knows HTTP. A programming mistake is an ``AssertionError`` and not here.

    OpenmaasError
    ├── Refused                      the caller can mend it
    │   ├── BadRequest               BodyInvalid · FieldInvalid · FieldMissing · TooLarge · ContextExceeded
    │   │                            ContentSensitive · EngineRefused · Malformed · EncodingUnknown · TooSlow
    │   │                            SignatureInvalid
    │   ├── NotRecognised            KeyMissing · KeyMalformed · KeyUnknown · KeyExpired · KeyRevoked · TokenExpired
    │   ├── NotAllowed               ScopeMissing · ModelNotAllowed · PlanMissing
    │   ├── NotFound                 ModelUnknown · ThingUnknown · PathUnknown · MethodUnknown
    │   ├── Conflict                 AlreadyThere · IdempotencyKeyReused · IdempotencyOutcome
    │   │                            LeaseLost · CannotAct
    │   ├── InsufficientFunds        FundsMissing · PlanExhausted · CycleExhausted · OverPlan · BudgetExceeded
    │   ├── LimitReached             OverLimit
    │   ├── ClientLeft
    │   ├── ExtraMissing
    │   └── SettingInvalid
    └── Failed                       we can mend it
        ├── EngineFailed             EngineTimedOut · CallMissing · AnswerUnreadable
        ├── DeviceLost
        ├── Overloaded               Draining · NoReplica · QueueFull · StaleView
        ├── JournalFull
        ├── StoreFailed
        ├── PullFailed
        └── Internal
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from openmaas.core.rates import Standing


class OpenmaasError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    hint: ClassVar[str] = ""

    def __init__(self, detail: str = "", *, field: str | None = None, retry_after_s: float | None = None) -> None:
        self.detail = detail
        self.field = field
        self.retry_after_s = retry_after_s
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """What happened and what to do next, as one or two sentences."""
        said = " ".join((type(self).__doc__ or "").split())
        if self.detail:
            said = f"{said.rstrip('.')}: {self.detail}"
            said = said if said.endswith((".", "。", "!", "?")) else f"{said}."
        return f"{said} {self.hint}".strip()


class Refused(OpenmaasError):  # noqa: N818 - the two trunks are named for what happened
    """The request was refused."""

    code = "refused"


class Failed(OpenmaasError):  # noqa: N818 - as above
    """The service failed."""

    code = "failed"


class BadRequest(Refused):
    """The request is not valid."""

    code = "invalid_request"


class Malformed(BadRequest):
    """The bytes are not a valid HTTP request."""

    code = "malformed_http"
    hint = "Send one Content-Length or chunked coding, never both, and no folded headers."


class BodyInvalid(BadRequest):
    """The body is not valid JSON."""

    code = "invalid_json"
    hint = "Send one JSON object encoded as UTF-8."


class FieldInvalid(BadRequest):
    """A field of the request is not valid."""

    code = "invalid_field"


class FieldMissing(FieldInvalid):
    """A field of the request is missing."""


class TooLarge(BadRequest):
    """The request is larger than this server takes."""

    code = "request_too_large"
    hint = "Send less, or ask the operator which limits are set."


class TooSlow(BadRequest):
    """The request took too long to come."""

    code = "request_timeout"
    hint = "Send it again over a better connection."


class EncodingUnknown(BadRequest):
    """The body is encoded in a way that this server does not read."""

    code = "unsupported_encoding"
    hint = "Send it as it is, without Content-Encoding."


class ContextExceeded(BadRequest):
    """The prompt is longer than the model's context."""

    code = "context_length_exceeded"
    hint = "Shorten the messages or choose a model with a longer context."
    #: What the engine counted, and what fits; 0 when it did not say. ``output_tokens`` is what was asked for when only
    #: prompt and answer together did not fit. Coding tools read all three, and shorten by them.
    prompt_tokens = 0
    context_tokens = 0
    output_tokens = 0

    def counted(self, prompt_tokens: int, context_tokens: int, output_tokens: int = 0) -> Self:
        """The same, with these counts unless it has its own."""
        if not self.context_tokens:
            self.prompt_tokens, self.context_tokens = prompt_tokens, context_tokens
            self.output_tokens = output_tokens if prompt_tokens < context_tokens else 0
        return self


class PreviousUnknown(BadRequest):
    """The response that this one goes on from is not kept here."""

    code = "previous_response_not_found"
    hint = "Keep responses with `store: true`, or send the whole conversation as input."


class SignatureInvalid(BadRequest):
    """The signature is not valid."""

    code = "invalid_signature"
    hint = "Sign the bytes as they are sent, with the secret that was agreed and the time of now."


class ContentSensitive(BadRequest):
    """What was asked or answered may not be said here."""

    code = "content_filter"
    hint = "Say it in other words; `sensitive_word_check` decides whether it is looked at."
    #: Whose words they are: the ``user``'s last ones, or those of the ``history`` before them.
    role = "user"

    def said_by(self, role: str) -> Self:
        """The same of somebody's words."""
        self.role = role
        return self


class EngineRefused(BadRequest):
    """The model's engine refused the request."""

    code = "engine_refused"


class NotRecognised(Refused):
    """The credential is not valid."""

    code = "invalid_api_key"
    hint = "Check the key; `openmaas keys create` makes a new one."


class KeyMissing(NotRecognised):
    """No API key was sent."""

    code = "missing_api_key"
    hint = "Send the header `Authorization: Bearer <id>.<secret>`."


class KeyMalformed(NotRecognised):
    """The API key is not of a form that this server knows."""

    code = "invalid_api_key"
    hint = "Send the header `Authorization: Bearer <id>.<secret>`."


class KeyUnknown(NotRecognised):
    """The API key is not known."""

    code = "invalid_api_key"


class KeyExpired(NotRecognised):
    """The API key has expired."""

    code = "expired_api_key"
    hint = "Create a new key with `openmaas keys create`."


class TokenExpired(NotRecognised):
    """The token has expired."""

    code = "expired_token"
    hint = "Sign a new one, or send the key itself."


class KeyRevoked(NotRecognised):
    """The API key was revoked."""

    code = "revoked_api_key"
    hint = "Create a new key with `openmaas keys create`."


class NotAllowed(Refused):
    """The key may not do this."""

    code = "permission_denied"


class ScopeMissing(NotAllowed):
    """The key lacks a scope."""

    code = "missing_scope"
    hint = "Use a key that has the scope, or create one with `openmaas keys create --scope`."


class ModelNotAllowed(NotAllowed):
    """The key may not use this model."""

    code = "model_not_allowed"
    hint = "Use one of the models that `GET /v1/models` lists for this key."


class PlanMissing(NotAllowed):
    """This base URL is for plans, and no plan covers this request."""

    code = "plan_missing"
    hint = "Use a model of the plan, set its `overflows`, or use the base URL that is paid as you go."


class NotFound(Refused):
    """There is no such thing."""

    code = "not_found"


class ModelUnknown(NotFound):
    """The model does not exist."""

    code = "model_not_found"
    hint = "`GET /v1/models` lists the models of this server."


class ThingUnknown(NotFound):
    """No such record."""

    code = "not_found"


class PathUnknown(NotFound):
    """This path does not exist."""

    code = "unknown_path"
    hint = "The OpenAPI document at /openapi.json lists the paths."


class MethodUnknown(NotFound):
    """This path does not take this method."""

    code = "method_not_allowed"

    def __init__(self, detail: str = "", *, field: str | None = None, allowed: Sequence[str] = ()) -> None:
        self.allowed = allowed
        super().__init__(detail, field=field)


class Conflict(Refused):
    """The request conflicts with what is already there."""

    code = "conflict"


class AlreadyThere(Conflict):
    """A record with this name is already there."""

    code = "already_exists"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was used before with a different request."""

    code = "idempotency_key_reused"
    hint = "Use a new key for a new request."


class IdempotencyOutcome(Conflict):
    """The first request with this Idempotency-Key left no answer that can be repeated."""

    code = "idempotency_outcome"
    hint = "Its receipt says what was billed; use a new key to ask again."


class LeaseLost(Conflict):
    """This job is another worker's now, or has ended."""

    code = "lease_lost"


class InsufficientFunds(Refused):
    """The balance does not cover the most this request can cost."""

    code = "insufficient_quota"
    hint = "Top up the account, or ask for fewer tokens with max_tokens."


class FundsMissing(InsufficientFunds):
    """The wallet does not have this much that is free."""

    code = "funds_missing"
    hint = "Top it up, or take less; what running requests hold is free again when they end."


class PlanExhausted(InsufficientFunds):
    """The plan's window does not cover the most this request can cost."""

    code = "plan_exhausted"
    hint = "Wait until the window is free again, or ask for fewer tokens with max_tokens."


class CycleExhausted(PlanExhausted):
    """The plan's week or month does not cover the most this request can cost."""

    hint = "Wait until it begins anew, or ask for fewer tokens with max_tokens."


class OverPlan(PlanExhausted):
    """The request alone can cost more than the plan's window allows."""

    code = "request_over_plan"
    hint = "Ask for fewer tokens with max_tokens, or shorten the prompt."


class BudgetExceeded(InsufficientFunds):
    """The budget does not cover the most this request can cost."""

    code = "budget_exceeded"
    hint = "Ask whoever set the budget, or ask for fewer tokens with max_tokens."


class LimitReached(Refused):
    """A rate limit was reached."""

    code = "rate_limit_exceeded"
    hint = "Wait, then send the request again."

    def __init__(
        self, detail: str = "", *, retry_after_s: float | None = None, standings: tuple[Standing, ...] = ()
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.standings = standings


class OverLimit(LimitReached):
    """The request alone can use more than a rate limit allows."""

    code = "request_over_limit"
    hint = "Ask for fewer tokens with max_tokens, or shorten the prompt."


class ClientLeft(Refused):
    """The client went away before its request was begun."""

    code = "client_left"


class CannotAct(Conflict):
    """The device cannot do that."""

    code = "cannot_act"


class ExtraMissing(Refused):
    """This installation lacks an optional part."""

    code = "extra_missing"


class SettingInvalid(Refused):
    """A setting is not valid."""

    code = "invalid_setting"
    hint = "`openmaas settings` prints every setting and where it came from."


class EngineFailed(Failed):
    """The model's engine failed."""

    code = "engine_failed"
    hint = "Nothing was billed beyond what was delivered; send the request again."


class CallMissing(EngineFailed):
    """The model did not call the tool that was demanded."""

    code = "tool_call_missing"
    hint = "What it generated is billed. Allow more tokens, or let the model choose with tool_choice auto."


class AnswerUnreadable(EngineFailed):
    """The model's answer names no action that can be read."""

    code = "answer_unreadable"
    hint = "Answer again, in the form that was asked for."


class EngineTimedOut(EngineFailed):
    """The model's engine did not answer in time."""

    code = "engine_timeout"


class DeviceLost(Failed):
    """The device no longer answers."""

    code = "device_lost"
    hint = "See that it is on and connected, then begin the task again."


class Overloaded(Failed):
    """The service is busy."""

    code = "overloaded"
    hint = "Wait a moment, then send the request again."


class Draining(Overloaded):
    """This server is shutting down."""

    code = "draining"


class NoReplica(Overloaded):
    """No replica of the model is ready."""

    code = "model_not_ready"
    hint = "`GET /readyz` says which models are up."


class QueueFull(Overloaded):
    """The model is busy, and more requests wait for it than it can serve in time."""

    code = "model_busy"
    hint = "Wait as long as `retry-after` says, then send the request again."


class StaleView(Overloaded):
    """This relay cannot see current keys and balances."""

    code = "stale_view"
    hint = "The database is out of reach; requests are refused until it answers."


class JournalFull(Failed):
    """There is no disk space to record the request."""

    code = "journal_full"
    hint = "Nothing was run or billed. The operator must free disk space."


class StoreFailed(Failed):
    """The database did not answer."""

    code = "store_failed"


class PullFailed(Failed):
    """The weights could not be fetched."""

    code = "pull_failed"
    hint = "Run the same command again: what was fetched is kept."


class Internal(Failed):
    """The server made a mistake."""

    code = "internal_error"
    hint = "Tell the operator the request id."
