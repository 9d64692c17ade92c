"""The management API: who may ask, how errors look, and which rooms' routes there are. OpenAPI at /openapi.json."""

import logging
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from openmaas.control import (
    agents,
    balances,
    batches,
    composed,
    customers,
    customers_papers,
    documents,
    files,
    knowledge,
    manage_agents,
    manage_aliases,
    manage_audit,
    manage_budgets,
    manage_catalog,
    manage_documents,
    manage_funds,
    manage_identity,
    manage_limits,
    manage_money,
    manage_plans,
    manage_refunds,
    manage_responses,
    manage_usage,
    message_batches,
    payments,
    quota,
    responses,
    tasks,
    tuning,
    webhooks,
)
from openmaas.control.bodies import Bodies, body_bytes_max
from openmaas.control.reading import recognised
from openmaas.control.rooms import Rooms
from openmaas.control.shapes import REFUSED
from openmaas.core.errors import (
    BodyInvalid,
    FieldInvalid,
    FieldMissing,
    Internal,
    KeyUnknown,
    MethodUnknown,
    ModelUnknown,
    OpenmaasError,
    PathUnknown,
    TooLarge,
)
from openmaas.core.version import VERSION
from openmaas.dialects.dialect import language_of
from openmaas.dialects.entrances import Entrances
from openmaas.identity.face import Caller
from openmaas.identity.signet import Signet
from openmaas.store.audit_log import Actor
from openmaas.work.wanted import Form

log = logging.getLogger(__name__)
#: The operator's part of the API.
MANAGE = "/manage/v1"
#: Paths of OpenAI that need a kind of model which this installation has none of.
MEDIA = tuple(
    base + end
    for base in ("/v1", "/api/v1", "/api/paas/v4", "/api/paas/v4/async")
    for end in ("/images/", "/audio/", "/videos", "/realtime", "/voice/")
)
_MANAGE = (
    manage_identity,
    manage_aliases,
    manage_catalog,
    manage_agents,
    manage_limits,
    manage_money,
    manage_funds,
    manage_budgets,
    manage_plans,
    manage_refunds,
    payments,
    manage_usage,
    manage_documents,
    manage_audit,
    webhooks,
    manage_responses,
)

#: Where files and batches are served, and in whose shapes.
FORMS: dict[Form, str] = {"openai": "/v1", "zhipu": "/api/paas/v4"}
#: The other base URL of OpenAI's dialect. What is there is what is at the first one, and told of once.
OPENAI_TOO = "/api/v1"
#: Zhipu's base URL for coding tools: a plan pays there.
CODING = "/api/coding/paas/v4"
#: Where knowledge is served, by Zhipu's older documentation and SDK and by its newer one.
KNOWLEDGE = {"paas": FORMS["zhipu"], "open": "/api/llm-application/open"}


def build_app(rooms: Rooms) -> FastAPI:
    """The application over ``rooms``."""
    app = FastAPI(
        title="openmaas",
        version=VERSION,
        description="Management API. Send `Authorization: Bearer <key>`; /manage needs a key with the scope admin.",
        docs_url=None,  # the interactive pages load scripts from elsewhere; this must work without a network
        redoc_url=None,
        redirect_slashes=False,  # it would send a client of a TLS front to http
        responses=REFUSED,
    )

    async def caller(request: Request) -> Caller:
        found = await recognised(rooms.keys, request.headers)
        if found.job_id:
            raise KeyUnknown("a job's token is good for inference alone")
        request.state.actor = Actor(found.key_id, rooms.clock)
        return found

    async def admin(found: Annotated[Caller, Depends(caller)]) -> Caller:
        found.need("admin")
        return found

    for module in _MANAGE:
        app.include_router(module.routes(rooms), prefix=MANAGE, dependencies=[Depends(admin)])
    for own in (customers.routes, customers_papers.routes, payments.own_routes, webhooks.own_routes):
        app.include_router(own(rooms, caller), prefix="/v1", dependencies=[Depends(caller)])  # before any ``Acting``
    for form, prefix in FORMS.items():
        for module in (files, batches, tuning):
            app.include_router(module.routes(rooms, caller, form), prefix=prefix)
    for module in (files, batches, tuning):
        app.include_router(module.routes(rooms, caller, "openai"), prefix=OPENAI_TOO, include_in_schema=False)
    for name, prefix in KNOWLEDGE.items():
        for module in (knowledge, documents):
            app.include_router(module.routes(rooms, caller, name), prefix=prefix)
    app.include_router(tuning.model_routes(rooms, caller), prefix="/v1")
    for routes in (tasks.routes, tuning.deleting_routes):
        app.include_router(routes(rooms, caller), prefix=FORMS["zhipu"])
    for prefix in (FORMS["zhipu"], CODING):
        app.include_router(composed.routes(rooms), prefix=prefix)
    for form, prefix in (("openai", "/v1"), ("zhipu", "/api/v1")):
        app.include_router(responses.routes(rooms, caller, form), prefix=prefix)
    for own in (quota.routes, balances.zhipu_routes):
        app.include_router(own(rooms, caller), prefix="/api")
    for base in ("/v1", ""):  # old clients ask without the version
        app.include_router(balances.openai_routes(rooms, caller), prefix=base)
    for name, prefix in agents.PREFIXES.items():
        app.include_router(agents.routes(rooms, caller, name), prefix=prefix)
    app.include_router(message_batches.routes(rooms, caller), prefix="/api/anthropic/v1")
    app.include_router(message_batches.routes(rooms, caller), prefix="/v1", include_in_schema=False)  # as messages are
    app.include_router(payments.provider_routes(rooms), prefix="/payments")
    _add_errors(app, rooms)
    app.add_middleware(Bodies, keys=rooms.keys)
    return app


def own_app(rooms: Rooms, actor: Actor) -> FastAPI:
    """The operator's part alone, for somebody who has the database itself: a command. ``actor`` is who the audit log
    names."""

    async def who(request: Request) -> None:
        request.state.actor = actor

    app = FastAPI(title="openmaas", version=VERSION, docs_url=None, redoc_url=None)
    for module in _MANAGE:
        app.include_router(module.routes(rooms), prefix=MANAGE, dependencies=[Depends(who)])
    _add_errors(app, rooms)
    return app


def _methods(app: FastAPI, request: Request) -> list[str]:
    """What the path of ``request`` takes, as the document knows it: word by word, or else as the first that fits."""
    paths, asked = app.openapi()["paths"], request.url.path
    fitting = (path for path in paths if compile_path(path)[0].match(asked))
    found = asked if asked in paths else next(fitting, None)
    return sorted(method.upper() for method in paths.get(found, ()))


def _add_errors(app: FastAPI, rooms: Rooms) -> None:
    """Errors are told in the dialect of their path."""
    entrances = Entrances(Signet(rooms.master), rooms.clock)

    async def own(request: Request, error: Exception) -> Response:
        assert isinstance(error, OpenmaasError)
        sent = {name.lower(): value for name, value in request.headers.raw}
        dialect = entrances.dialect_of(request.url.path, sent)
        request_id = request.headers.get("x-request-id", "")
        status, headers, body = dialect.refusal(error, language_of(sent), request_id)
        lines = dict(line.split(": ", 1) for line in headers.decode().splitlines())
        return Response(body, status, lines, media_type="application/json")

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return await own(request, BodyInvalid(str(first.get("ctx", {}).get("error", ""))))
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        if first["type"] == "missing" and field:
            return await own(request, FieldMissing(f"{field} is required", field=field))
        return await own(request, FieldInvalid(f"{field or 'body'}: {first['msg']}", field=field or "body"))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            said = f"{request.url.path} does not take {request.method}"
            return await own(request, MethodUnknown(said, allowed=_methods(app, request)))
        if error.status_code == 413:
            return await own(request, TooLarge(f"a body may have {body_bytes_max(request.url.path)} bytes"))
        if error.status_code == 400:  # FastAPI could not read the body at all: nested too deep, or not UTF-8
            return await own(request, BodyInvalid())
        if request.url.path.startswith(MEDIA):
            return await own(request, ModelUnknown("no model for images, audio or video is installed", field="model"))
        return await own(request, PathUnknown(request.url.path))

    async def mistake(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return await own(request, Internal(f"request {request.headers.get('x-request-id', '')}"))

    app.add_exception_handler(OpenmaasError, own)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, mistake)
