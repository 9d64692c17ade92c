"""The platform as an application sees it: a customer with a key. Every request is a request of its own, with a receipt.

Who leaves closes the connection, and the engine stops: cancelling a task here needs nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from openmaas.core.bounds import ASKED_AGAIN_MAX, CONNECT_TIMEOUT_S, FIRST_BYTE_TIMEOUT_S, RETRY_AFTER_S_DEFAULT
from openmaas.core.errors import Failed, FieldInvalid, Refused


class Answer(msgspec.Struct, frozen=True):
    """A model's message and what it took. ``amount`` and ``currency`` are its receipt's, if there is one."""

    message: dict[str, Any]
    request_id: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    amount: Decimal = Decimal(0)
    currency: str = ""

    @property
    def tokens(self) -> int:
        """Of the prompt and of the answer."""
        return self.prompt_tokens + self.completion_tokens


class _Function(msgspec.Struct):
    name: str
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    function: _Function


class _Message(msgspec.Struct):
    """What every reader of a message relies on."""

    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_Call] | None = None


class Platform:
    """One service at ``url`` (with or without ``/v1``), asked with one key. Raises ``Refused`` and ``Failed``."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        if not self.url.startswith(("http://", "https://")):
            raise FieldInvalid("it must be such as http://127.0.0.1:8080", field="url")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        timeout = httpx.Timeout(FIRST_BYTE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        self._http = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout)

    async def __aenter__(self) -> Platform:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def chat(self, body: Mapping[str, Any]) -> Answer:
        """One answer, and its receipt if there is one."""
        answer = await self._ask("POST", "/v1/chat/completions", body)
        said = _json(answer)
        try:
            message = said["choices"][0]["message"]
            msgspec.convert(message, _Message)
        except (KeyError, IndexError, TypeError, msgspec.ValidationError) as error:
            raise Failed(f"{self.url} gave no message in its answer ({error}); is it a chat service?") from None
        used = said["usage"] if isinstance(said.get("usage"), dict) else {}
        request_id = answer.headers.get("x-request-id", "")
        receipt = await self._receipt(request_id)
        return Answer(
            message,
            request_id,
            used.get("prompt_tokens") or 0,
            used.get("completion_tokens") or 0,
            Decimal(str(receipt.get("amount", 0))),
            str(receipt.get("currency", "")),
        )

    async def models(self) -> list[str]:
        """The models that the key may use."""
        return [str(each["id"]) for each in _json(await self._ask("GET", "/v1/models"))["data"]]

    async def _receipt(self, request_id: str) -> dict[str, Any]:
        """Empty of a service that has none. Raises like a request: what something cost is not guessed to be nothing."""
        if not request_id:
            return {}
        answer = await self._ask("GET", f"/v1/receipts/{request_id}")
        return {} if answer.status_code == 404 else _json(answer)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        """An answer, whatever it says; of a service that is busy the first that is not, or the last of a few."""
        for again in range(ASKED_AGAIN_MAX + 1):
            try:
                answer = await self._http.request(method, path, json=body)
            except httpx.TimeoutException:
                raise Failed(f"{self.url} did not answer in time") from None
            except httpx.HTTPError as error:
                raise Failed(f"{self.url} does not answer ({error}); is `openmaas serve` running?") from None
            if not _passing(answer) or again == ASKED_AGAIN_MAX:
                break
            await asyncio.sleep(_retry_after_s(answer))
        return answer


def _passing(answer: httpx.Response) -> bool:
    """Whether it may be otherwise in a moment: an empty purse is a 429 in some dialects."""
    return answer.status_code == 503 or (answer.status_code == 429 and "retry-after" in answer.headers)


def _retry_after_s(answer: httpx.Response) -> float:
    try:
        return min(float(answer.headers.get("retry-after", RETRY_AFTER_S_DEFAULT)), 60.0)
    except ValueError:
        return RETRY_AFTER_S_DEFAULT


def _json(answer: httpx.Response) -> dict[str, Any]:
    """The body. Raises ``Refused`` below 500 and ``Failed`` above, in the service's words."""
    try:
        said = msgspec.json.decode(answer.content)
    except (msgspec.DecodeError, RecursionError):
        raise Failed(f"{answer.url} does not speak JSON ({answer.status_code}); is it an openmaas?") from None
    if answer.status_code >= 400:
        error = said.get("error") if isinstance(said, dict) else None
        told = error.get("message") if isinstance(error, dict) else None
        raise (Refused if answer.status_code < 500 else Failed)(
            str(told or f"{answer.url} answered {answer.status_code}")
        )
    if not isinstance(said, dict):
        raise Failed(f"{answer.url} gave no object")
    return said
