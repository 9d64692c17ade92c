"""What a search is asked, checked; and what it finds."""

from __future__ import annotations

import msgspec

from openmaas.core.bounds import FOUND_MAX, KNOWLEDGE_IDS_MAX, QUERY_LENGTH_MAX, RECALLED_MAX
from openmaas.core.errors import FieldInvalid

#: Which ways of recall a method has.
METHODS = ("embedding", "keyword", "mixed")


class Question(msgspec.Struct, frozen=True):
    """A question to some bases. ``recalled`` chunks come by each way of recall; ``ratio`` (0 to 100) is the weight of
    the vectors' ranks beside the words'; what scores less than ``threshold`` is not found; ``rerank_model`` puts what
    was recalled in another order."""

    query: str
    knowledge_ids: tuple[str, ...]
    document_ids: frozenset[str] = frozenset()
    found: int = 8
    recalled: int = 10
    method: str = "mixed"
    ratio: int = 80
    threshold: float = 0.0
    rerank_model: str = ""

    def check(self) -> Question:
        """The same. Raises ``FieldInvalid`` for what is out of bounds, by the names of the wire."""
        if not 0 < len(self.query.strip()) <= len(self.query) <= QUERY_LENGTH_MAX:
            raise FieldInvalid(f"query must have 1 to {QUERY_LENGTH_MAX} characters", field="query")
        if not 0 < len(self.knowledge_ids) <= KNOWLEDGE_IDS_MAX:
            raise FieldInvalid(f"knowledge_ids must be 1 to {KNOWLEDGE_IDS_MAX} ids", field="knowledge_ids")
        if self.method not in METHODS:
            raise FieldInvalid(f"recall_method must be one of {', '.join(METHODS)}", field="recall_method")
        for field, value, least, most in (
            ("top_k", self.found, 1, FOUND_MAX),
            ("top_n", self.recalled, 1, RECALLED_MAX),
            ("recall_ratio", self.ratio, 0, 100),
            ("fractional_threshold", self.threshold, 0, 1),
        ):
            if not least <= value <= most:
                raise FieldInvalid(f"{field} must be between {least} and {most}", field=field)
        return self


class Found(msgspec.Struct, frozen=True):
    """A chunk that was found; ``position`` is its place in the document, from 0 on."""

    knowledge_id: str
    document_id: str
    document_name: str
    position: int
    text: str
    score: float
