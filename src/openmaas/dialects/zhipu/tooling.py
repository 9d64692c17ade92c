"""Zhipu's older search, on the path ``tools``: the query is what was said last, the pages are a tool's calls.

``scope`` and ``location`` are taken and have no meaning here. An engine answers whole; a caller who wants a stream is
told of each call when all are there. https://docs.bigmodel.cn/api-reference/工具-api/网络搜索
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from openmaas.core.bounds import ANSWER_BYTES_MAX, TEXT_BYTES_MAX
from openmaas.core.errors import EngineFailed, FieldInvalid, OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.dialect import Reading, Ticket
from openmaas.dialects.members import checked
from openmaas.dialects.openai.answer import reckoned, whole_usage
from openmaas.dialects.zhipu.searching import Recency, Searching, Wanted, heard

_encode = msgspec.json.encode
#: The filter that covers so many days back.
_RECENT: tuple[tuple[int, Recency], ...] = ((1, "oneDay"), (7, "oneWeek"), (31, "oneMonth"), (366, "oneYear"))


class _Part(msgspec.Struct):
    type: str = "text"
    text: str | None = None


class _Turn(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None

    def said(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class _Asked(msgspec.Struct):
    model: Annotated[str, Meta(min_length=1, max_length=TEXT_BYTES_MAX)]
    messages: list[_Turn]
    stream: bool | None = None
    recent_days: Annotated[int, Meta(ge=1, le=366)] | None = None


_asked = msgspec.json.Decoder(_Asked, strict=False)


class Tooling(Searching):
    """The path ``tools``."""

    def wanted(self, members: dict[str, msgspec.Raw]) -> Wanted:
        """See ``Searching``."""
        asked = checked(_asked, {name: members[name] for name in _Asked.__struct_fields__ if name in members})
        said = next((turn.said() for turn in reversed(asked.messages) if turn.role == "user"), "").strip()
        if not said:
            raise FieldInvalid("messages must end with what a user looks for", field="messages")
        self.stream = bool(asked.stream)
        inner: dict[str, Any] = {"search_engine": asked.model, "search_query": said, "search_intent": True}
        if asked.recent_days is not None:
            inner["search_recency_filter"] = next(name for days, name in _RECENT if asked.recent_days <= days)
        try:
            return msgspec.convert(inner, Wanted)
        except msgspec.ValidationError as error:
            raise FieldInvalid(f"messages: {error}", field="messages") from None

    def whole(self, body: bytes, _served_name: str, ticket: Ticket) -> bytes:
        """See ``Ask``."""
        message = {"role": "tool", "tool_calls": _calls(body, ticket)}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        return _encode(self.head(ticket) | {"choices": [choice]})

    def head(self, ticket: Ticket) -> dict[str, Any]:
        """See ``Searching``."""
        return super().head(ticket) | {"model": self.model}

    def reading(self, _served_name: str, ticket: Ticket) -> Reading:
        """See ``Ask``."""
        return _Reading(self, ticket)

    def events(self, body: bytes, ticket: Ticket) -> bytes:
        """The answer as a stream: who speaks, each call, why it ends."""
        calls = _calls(body, ticket)
        deltas: list[dict[str, Any]] = [
            {"role": "tool", "tool_calls": [call | {"index": at}]} for at, call in enumerate(calls)
        ]
        ends = [None] * len(deltas) + ["stop"]
        told = [
            self.head(ticket) | {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
            for delta, end in zip([*deltas, {}], ends, strict=True)
        ]
        return b"".join(b"data: %b\n\n" % _encode(event) for event in told) + b"data: [DONE]\n\n"


class _Reading:
    """An answer that is read whole and told as a stream."""

    def __init__(self, asked: Tooling, ticket: Ticket) -> None:
        self.delivering = True
        self.ended = False
        self.usage: Usage | None = None
        self._asked, self._ticket = asked, ticket
        self._blocks: list[bytes] = []
        self._size_bytes = 0

    def feed(self, block: bytes) -> bytes:
        """See ``Reading``."""
        self._blocks.append(block)
        self._size_bytes += len(block)
        if self._size_bytes > ANSWER_BYTES_MAX:
            raise EngineFailed("its answer was too long")
        return b""

    def finish(self) -> bytes:
        """See ``Reading``."""
        body = b"".join(self._blocks)
        self.usage = whole_usage(body, 200)
        said = self._asked.events(body, self._ticket)
        self.usage = reckoned(self.usage, self._asked.units)
        return said

    def delivered(self) -> Usage:
        """See ``Reading``: nothing passes before all is there."""
        return Usage(estimated=True)

    def broken(self, _error: OpenmaasError) -> None:
        """See ``Reading``."""


def _calls(body: bytes, ticket: Ticket) -> list[dict[str, Any]]:
    found, base = heard(body), ticket.request_id.removeprefix("req_")
    told = {"search_intent": found.search_intent, "search_result": found.search_result}
    return [
        {"id": f"call_{base}_{kind}", "type": kind, kind: [{"index": 0} | row for row in rows]}
        for kind, rows in told.items()
    ]
