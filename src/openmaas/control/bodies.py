"""What a caller can make the control plane hold: nothing before the key is known, and then one short body.

FastAPI reads a body before it asks who sends it, and knows no bound. Here the key is recognised first, and the bytes
are counted as they come, so that a length that was not said, or not kept, bounds nothing less. Paths that take more are
few, and named here.
"""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openmaas.control.reading import recognised
from openmaas.core.bounds import (
    BATCH_BYTES_MAX,
    BODY_BYTES_MAX,
    FILE_BYTES_MAX,
    FORM_BYTES_MAX,
    FORM_FIELDS_MAX,
    FORM_HEAD_BYTES_MAX,
    JSON_BYTES_MAX,
    TASK_BODY_BYTES_MAX,
)
from openmaas.core.errors import OpenmaasError, TooLarge
from openmaas.dialects.openai.errors import render
from openmaas.identity.face import Keys

#: Paths that nobody is answered on without a key.
_KEYED = ("/manage/", "/v1/", "/api/")
#: A whole form: its file, its fields, and the heads of all its parts.
_WHOLE_FORM = FILE_BYTES_MAX + FORM_BYTES_MAX + FORM_FIELDS_MAX * FORM_HEAD_BYTES_MAX
#: What a body may have where it may have more: whoever takes it sends it to disk as it comes, or holds it whole.
_MORE = {
    "/v1/files": _WHOLE_FORM,
    "/api/v1/files": _WHOLE_FORM,
    "/api/paas/v4/files": _WHOLE_FORM,
    "/api/paas/v4/async/chat/completions": TASK_BODY_BYTES_MAX,
    "/api/paas/v4/chat/completions": BODY_BYTES_MAX,
    "/api/coding/paas/v4/chat/completions": BODY_BYTES_MAX,
    "/api/anthropic/v1/messages/batches": BATCH_BYTES_MAX,
    "/v1/messages/batches": BATCH_BYTES_MAX,
    "/api/v1/agents": TASK_BODY_BYTES_MAX,
    "/api/paas/v4/agents": TASK_BODY_BYTES_MAX,
    "/api/paas/v4/v1/agents": TASK_BODY_BYTES_MAX,
}
#: The same where the path ends with an id.
_MORE_BELOW = tuple(f"{base}/document/upload_document/" for base in ("/api/paas/v4", "/api/llm-application/open"))


def body_bytes_max(path: str) -> int:
    """How long a body may be here."""
    return _WHOLE_FORM if path.startswith(_MORE_BELOW) else _MORE.get(path, JSON_BYTES_MAX)


class Bodies:
    """The application behind it, with every body recognised and bounded."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Part of ASGI."""
        if scope["type"] == "http":
            try:
                await self._admit(scope["path"], Headers(scope=scope))
            except OpenmaasError as error:
                await _refuse(error, send)
                return
            receive = _counted(receive, body_bytes_max(scope["path"]))
        await self._app(scope, receive, send)

    async def _admit(self, path: str, headers: Headers) -> None:
        length = headers.get("content-length", "0")
        if length == "0" and "transfer-encoding" not in headers:
            return
        if path.startswith(_KEYED):
            await recognised(self._keys, headers)
        if int(length) > (most := body_bytes_max(path)):
            raise TooLarge(f"a body may have {most} bytes")


def _counted(receive: Receive, most: int) -> Receive:
    seen_bytes = 0

    async def counting() -> Message:
        nonlocal seen_bytes
        message = await receive()
        seen_bytes += len(message.get("body", b""))
        if seen_bytes > most:
            raise HTTPException(413)  # the one kind that FastAPI lets out of its reading
        return message

    return counting


async def _refuse(error: OpenmaasError, send: Send) -> None:
    status, lines, body = render(error)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    headers += [(name, value) for name, _, value in (line.partition(b": ") for line in lines.splitlines())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
