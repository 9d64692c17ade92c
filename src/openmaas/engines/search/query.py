"""What is looked for, what is found, and what a back end must be able to do.

It knows the words of Zhipu's web search, which is the wire of this engine, and no back end.
https://docs.bigmodel.cn/api-reference/工具-api/网络搜索
"""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from openmaas.core.bounds import (
    SEARCH_COUNT,
    SEARCH_COUNT_MAX,
    SEARCH_QUERY_LENGTH_MAX,
    SNIPPET_LENGTH,
    SNIPPET_LENGTH_MAX,
)

#: Days that a recency filter looks back.
RECENT_DAYS = {"oneDay": 1, "oneWeek": 7, "oneMonth": 31, "oneYear": 366}


class Query(msgspec.Struct, frozen=True):
    """One search."""

    search_query: Annotated[str, Meta(min_length=1, max_length=SEARCH_QUERY_LENGTH_MAX)]
    count: Annotated[int, Meta(ge=1, le=SEARCH_COUNT_MAX)] = SEARCH_COUNT
    search_domain_filter: str = ""
    search_recency_filter: Literal["oneDay", "oneWeek", "oneMonth", "oneYear", "noLimit"] = "noLimit"
    content_size: Literal["medium", "high"] = "medium"
    search_intent: bool = False
    include_image: bool = False

    @property
    def recent_days(self) -> int | None:
        """How many days back; None without a limit."""
        return RECENT_DAYS.get(self.search_recency_filter)

    @property
    def snippet_length(self) -> int:
        """Characters of a page's text that are wanted at most."""
        return SNIPPET_LENGTH_MAX if self.content_size == "high" else SNIPPET_LENGTH


class Found(msgspec.Struct, frozen=True):
    """One page. ``media`` is who published it; ``publish_date`` a day, or empty."""

    title: str
    link: str
    content: str
    media: str = ""
    publish_date: str = ""
    icon: str = ""
    images: tuple[str, ...] = ()


class BackEnd(Protocol):
    """Something that finds. Called from threads, several at once."""

    def open(self) -> None:
        """Load. Raises ``FieldInvalid`` for an option that cannot be."""

    def find(self, query: Query) -> list[Found]:
        """The best first, ``count`` at most. Raises ``EngineFailed``, and ``FieldInvalid`` for what it cannot do."""

    def close(self) -> None:
        """Give everything back."""
