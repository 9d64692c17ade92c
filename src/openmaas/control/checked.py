"""The moderation of a chat (``sensitive_word_check``): the question before it is asked, the answer before it ends.

Each is a request for the installation's moderation, with its own price and receipt, on behalf of whoever asks. Where
nothing moderates, the chat is refused: who asks to be kept from something must not be told that they were.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openmaas.control.inner import Inner, Teller
from openmaas.core.errors import ContentSensitive, FieldInvalid, ModelUnknown, OpenmaasError
from openmaas.dialects.zhipu.sensitive import FIELD, MODEL, Stream, Whole, looked_at, rejected
from openmaas.work.asking import Answer
from openmaas.work.refusals import refusal_of

_MODERATIONS = "/api/paas/v4/moderations"


class Check:
    """That of one chat, whose parts ``inner`` asks for."""

    def __init__(self, inner: Inner) -> None:
        self._inner = inner

    async def question(self, said: dict[str, str]) -> None:
        """Raises ``ContentSensitive`` for what may not be asked, ``FieldInvalid`` where nothing moderates, and whatever
        the relay refuses the moderation with."""
        stopped = await self._rejected(list(said.values()), ":question")
        for role, stop in zip(said, stopped, strict=True):
            if stop:
                raise ContentSensitive(field="messages").said_by(role)

    async def whole(self, body: bytes) -> bytes:
        """A whole answer, as it may be told. Raises what the moderation was refused with."""
        answer = Whole(body)
        return answer.say(await self._rejected(answer.texts, ":answer"))

    async def stream(self, teller: Teller, answer: Answer, change: Callable[[bytes], bytes]) -> None:
        """A streamed answer as it comes, ``change`` being what else is done to it, and its end as it may be told."""
        stream = Stream()
        await teller.begin(answer)
        async for block in answer.blocks():
            await teller.say(stream.feed(change(block)))
        try:
            said = stream.end(await self._rejected(stream.texts, ":answer"))
        except OpenmaasError as error:  # the head has gone: it is told as a stream that broke off
            told: dict[str, Any] = {"code": "1234", "message": error.message}
            said = stream.broken(told)
        await teller.say(said)
        await teller.end()

    async def _rejected(self, texts: list[str], part: str) -> list[bool]:
        """Which may not be said; of nothing nobody is asked."""
        at = [number for number, text in enumerate(texts) if text.strip()]
        found = [False] * len(texts)
        if at:
            told = await self._inner.whole(_MODERATIONS, looked_at([texts[number] for number in at]), part)
            if told.status != 200:
                raise _refused(refusal_of(told))
            for number, stop in zip(at, rejected(told.body, len(at)), strict=True):
                found[number] = stop
        return found


def _refused(error: OpenmaasError) -> OpenmaasError:
    if isinstance(error, ModelUnknown):
        said = f"{FIELD} needs a model {MODEL!r}, which this installation lacks; leave it out, or ask its operator"
        return FieldInvalid(said, field=FIELD)
    return error
