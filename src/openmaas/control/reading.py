"""Who sent a request, and who may do what with their own key: read with the scope ``usage``, have files and jobs with
``inference``.

Annotations are evaluated here (no ``from __future__``): FastAPI must see the local ``caller``.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import Headers

from openmaas.identity.face import Caller, Keys

#: Recognises whoever sent a request.
Recognise = Callable[[Request], Coroutine[Any, Any, Caller]]


async def recognised(keys: Keys, headers: Headers) -> Caller:
    """The caller behind the key in ``headers``, in any of the forms that the relay takes. Raises ``NotRecognised``."""
    sent, api_key = headers.get("authorization") or headers.get("x-bigmodel-authorization"), headers.get("x-api-key")
    return await keys.recognise(sent.encode() if sent else None, api_key.encode() if api_key else None)


def reading(caller: Recognise) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """The dependency of routes for a customer's own key. Raises ``ScopeMissing``."""
    return _having(caller, "usage")


def using(caller: Recognise) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """The same for what belongs to inference. Raises ``ScopeMissing``."""
    return _having(caller, "inference")


def hooking(caller: Recognise) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """The same for webhooks. Raises ``ScopeMissing``."""
    return _having(caller, "webhooks")


def _having(caller: Recognise, scope: str) -> Callable[..., Coroutine[Any, Any, Caller]]:
    async def having(found: Annotated[Caller, Depends(caller)]) -> Caller:
        found.need(scope)
        return found

    return having
