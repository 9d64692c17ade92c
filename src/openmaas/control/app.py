"""The management API: who may ask, how errors look, and which rooms' routes there are. OpenAPI at /openapi.json."""

import logging
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from openmaas.control import customers, manage_catalog, manage_identity, manage_money
from openmaas.control.rooms import Rooms
from openmaas.core.errors import FieldInvalid, Internal, MethodUnknown, OpenmaasError, PathUnknown
from openmaas.core.version import VERSION
from openmaas.dialects.openai.errors import render
from openmaas.identity.face import Caller

log = logging.getLogger(__name__)


def build_app(rooms: Rooms) -> FastAPI:
    """The application over ``rooms``."""
    app = FastAPI(
        title="openmaas",
        version=VERSION,
        description="Management API. Send `Authorization: Bearer <key>`; /manage needs a key with the scope admin.",
        docs_url=None,  # the interactive pages load scripts from elsewhere; this must work without a network
        redoc_url=None,
    )

    async def caller(request: Request) -> Caller:
        headers = request.headers
        sent, api_key = headers.get("authorization"), headers.get("x-api-key")
        return await rooms.keys.recognise(sent.encode() if sent else None, api_key.encode() if api_key else None)

    async def admin(found: Annotated[Caller, Depends(caller)]) -> Caller:
        found.need("admin")
        return found

    for module in (manage_identity, manage_catalog, manage_money):
        app.include_router(module.routes(rooms), prefix="/manage/v1", dependencies=[Depends(admin)])
    app.include_router(customers.routes(rooms, caller), prefix="/v1")
    _add_errors(app)
    return app


def _add_errors(app: FastAPI) -> None:
    async def own(_request: Request, error: Exception) -> Response:
        assert isinstance(error, OpenmaasError)
        status, headers, body = render(error)
        lines = dict(line.split(": ", 1) for line in headers.decode().splitlines())
        return Response(body, status, lines, media_type="application/json")

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path"))
        return await own(request, FieldInvalid(f"{field or 'body'}: {first['msg']}", field=field or "body"))

    async def unknown(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            return await own(request, MethodUnknown(f"{request.url.path} does not take {request.method}"))
        return await own(request, PathUnknown(request.url.path))

    async def mistake(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return await own(request, Internal(f"request {request.headers.get('x-request-id', '')}"))

    app.add_exception_handler(OpenmaasError, own)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, unknown)
    app.add_exception_handler(Exception, mistake)
