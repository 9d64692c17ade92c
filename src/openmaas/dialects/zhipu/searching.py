"""A web search of Zhipu's, which is the wire of searches: what engines are asked, too. One search is one call.

https://docs.bigmodel.cn/api-reference/工具-api/网络搜索
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from openmaas.core.bounds import SEARCH_COUNT_MAX, SEARCH_QUERY_LENGTH_MAX, TEXT_BYTES_MAX
from openmaas.core.errors import EngineFailed
from openmaas.core.usage import Units
from openmaas.dialects.dialect import Manner, Reading, Ticket
from openmaas.dialects.members import checked, members_of
from openmaas.dialects.zhipu.read import text_of

_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.encode
Recency = Literal["oneDay", "oneWeek", "oneMonth", "oneYear", "noLimit"]


class Wanted(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What an engine is told of a search: all that a caller says but who they are."""

    search_engine: Annotated[str, Meta(min_length=1, max_length=TEXT_BYTES_MAX)]
    search_query: Annotated[str, Meta(min_length=1, max_length=SEARCH_QUERY_LENGTH_MAX)]
    count: Annotated[int, Meta(ge=1, le=SEARCH_COUNT_MAX)] | None = None
    search_domain_filter: Annotated[str, Meta(max_length=TEXT_BYTES_MAX)] | None = None
    search_recency_filter: Recency | None = None
    content_size: Literal["medium", "high"] | None = None
    search_intent: bool | None = None
    include_image: bool | None = None


class Pages(msgspec.Struct):
    """What an engine answers."""

    search_result: list[dict[str, Any]]
    search_intent: list[dict[str, Any]] = []


_wanted = msgspec.json.Decoder(Wanted, strict=False)
_pages = msgspec.json.Decoder(Pages)


class Searching:
    """The path ``web_search``. Its model is the ``search_engine``."""

    kind = "web_search"
    memory = None
    choices = 1
    units: Units = (("call", 1),)
    needs: frozenset[str] = frozenset()

    def __init__(self, body: bytes | bytearray) -> None:
        members = {name: value for name, value in members_of(body).items() if value != _NULL}
        self.request_id = text_of(members, "request_id")
        self.stream = False
        self.size_bytes = len(body)
        self._wanted = self.wanted(members)
        self.model = self._wanted.search_engine

    def wanted(self, members: dict[str, msgspec.Raw]) -> Wanted:
        """The search that ``members`` ask for. Raises ``FieldMissing`` and ``FieldInvalid``."""
        return checked(_wanted, {name: members[name] for name in Wanted.__struct_fields__ if name in members})

    def prompt_tokens_max(self, context_tokens: int) -> int:
        """See ``Ask``: for an engine that counts them."""
        return min(self.size_bytes, context_tokens)

    def output_tokens_max(self, _default: int, _context_tokens: int) -> int:
        """See ``Ask``."""
        return 0

    def opening(self) -> bytes:
        """See ``Ask``: two searches share nothing."""
        return b""

    def forward(self, served_name: str, _output_tokens: int, _manner: Manner) -> bytes:
        """See ``Ask``."""
        return _encode(msgspec.structs.replace(self._wanted, search_engine=served_name))

    def reading(self, _served_name: str, _ticket: Ticket) -> Reading:
        """See ``Ask``."""
        raise AssertionError("it is not streamed")

    def whole(self, body: bytes, _served_name: str, ticket: Ticket) -> bytes:
        """See ``Ask``."""
        found = heard(body)
        told = {"search_intent": found.search_intent, "search_result": found.search_result}
        return _encode(self.head(ticket) | told)

    def head(self, ticket: Ticket) -> dict[str, Any]:
        """What every answer begins with."""
        mine = {"id": ticket.request_id, "request_id": self.request_id or ticket.request_id}
        return mine | {"created": ticket.opened_ms // 1000}


def heard(body: bytes) -> Pages:
    """What an engine found. Raises ``EngineFailed``."""
    try:
        return _pages.decode(body)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"its answer was no list of pages ({error})") from None
