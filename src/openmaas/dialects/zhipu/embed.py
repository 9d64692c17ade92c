"""Embeddings and reranking of Zhipu's. An engine that embeds serves both: documents are ranked by the cosine of the
angle between their vectors and the query's. https://docs.bigmodel.cn/api-reference/模型-api/文本嵌入
"""

from __future__ import annotations

import math
from operator import mul
from typing import Any

import msgspec

from openmaas.core.bounds import EMBEDDED_MAX, RERANK_TEXT_LENGTH_MAX, RERANKED_MAX
from openmaas.core.errors import EngineFailed, FieldInvalid, FieldMissing
from openmaas.dialects.conversation import Json
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.members import checked, members_of
from openmaas.dialects.openai.request import Ask
from openmaas.dialects.zhipu.read import text_of

_NULL = msgspec.Raw(b"null")
_encode = msgspec.json.encode
_inputs = msgspec.json.Decoder(list[msgspec.Raw])
#: What the engine has no use for.
_OWN = ("request_id", "user_id", "sensitive_word_check")


class _Count(msgspec.Struct):
    prompt_tokens: int = 0


class _Vector(msgspec.Struct):
    index: int
    embedding: msgspec.Raw


class _Vectors(msgspec.Struct):
    data: list[_Vector]
    usage: _Count = msgspec.field(default_factory=_Count)
    model: str = ""


_vectors = msgspec.json.Decoder(_Vectors)
_numbers = msgspec.json.Decoder(list[float])


class Embedding(Ask):
    """An embeddings request: the OpenAI wire's, with Zhipu's bound on the inputs."""

    def __init__(self, body: bytes | bytearray) -> None:
        super().__init__("embeddings", _encode(_plain(members_of(body))))
        inputs = self.members.get("input")
        if inputs is None:
            raise FieldMissing("input is required: a text or a list of texts", field="input")
        if memoryview(inputs)[0] == ord("[") and len(_inputs.decode(inputs)) > EMBEDDED_MAX:
            raise FieldInvalid(f"input may have at most {EMBEDDED_MAX} texts here", field="input")

    def whole(self, body: bytes, _served_name: str, _ticket: Ticket) -> bytes:
        """See ``Ask``; the usage says that nothing was generated."""
        found = _heard(body)
        data = [{"object": "embedding", "index": row.index, "embedding": row.embedding} for row in found.data]
        return _encode({"object": "list", "model": self.model, "data": data, "usage": _usage(found)})


class _Rerank(msgspec.Struct):
    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool | None = None
    return_raw_scores: bool | None = None


_rerank = msgspec.json.Decoder(_Rerank, strict=False)


class Reranking(Ask):
    """A rerank request: query and documents are embedded in one call. ``relevance_score`` is the cosine, from -1 to 1
    when raw scores are wanted, else moved into 0 to 1."""

    __slots__ = ("_request_id", "_wanted")

    def __init__(self, body: bytes | bytearray) -> None:
        told = members_of(body)
        members = _plain(told)
        asked = checked(_rerank, {name: members[name] for name in _Rerank.__struct_fields__ if name in members})
        if not 1 <= len(asked.documents) <= RERANKED_MAX:
            raise FieldInvalid(f"documents must be 1 to {RERANKED_MAX} texts", field="documents")
        if asked.top_n is not None and asked.top_n < 0:
            raise FieldInvalid("top_n must be 0, for all, or more", field="top_n")
        for field, texts in (("query", [asked.query]), ("documents", asked.documents)):
            if not all(0 < len(text) <= RERANK_TEXT_LENGTH_MAX for text in texts):
                raise FieldInvalid(f"{field} must have 1 to {RERANK_TEXT_LENGTH_MAX} characters", field=field)
        inner: dict[str, Any] = {"input": [asked.query, *asked.documents], "encoding_format": "float"}
        super().__init__("embeddings", _encode({name: members[name] for name in members if name == "model"} | inner))
        self._wanted, self._request_id = asked, text_of(told, "request_id")

    def whole(self, body: bytes, _served_name: str, ticket: Ticket) -> bytes:
        """See ``Ask``: the best first."""
        found, asked = _heard(body), self._wanted
        rows = sorted(found.data, key=lambda row: row.index)
        try:
            query, *documents = [_numbers.decode(row.embedding) for row in rows]
        except (msgspec.MsgspecError, ValueError) as error:
            raise EngineFailed(f"its answer was no list of vectors ({error})") from None
        if len(documents) != len(asked.documents):
            raise EngineFailed("its answer lacks vectors")
        scores = [_cosine(query, each) for each in documents]
        best = sorted(range(len(scores)), key=lambda at: -scores[at])[: asked.top_n or None]
        results: list[dict[str, Any]] = [
            {"index": at, "relevance_score": scores[at] if asked.return_raw_scores else (scores[at] + 1) / 2}
            for at in best
        ]
        if asked.return_documents:
            for row in results:
                row["document"] = asked.documents[row["index"]]
        head: dict[str, Any] = {"id": ticket.request_id, "request_id": self._request_id or ticket.request_id}
        head |= {"created": ticket.opened_ms // 1000, "model": self.model}
        return _encode(head | {"results": results, "usage": _usage(found)})


def _plain(members: dict[str, Json]) -> dict[str, Json]:
    text_of(members, "request_id")  # named when it is none
    return {name: value for name, value in members.items() if value != _NULL and name not in _OWN}


def _heard(body: bytes) -> _Vectors:
    try:
        return _vectors.decode(body)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"its answer was no list of vectors ({error})") from None


def _usage(found: _Vectors) -> dict[str, int]:
    tokens = found.usage.prompt_tokens
    return {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}


def _cosine(one: list[float], other: list[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return max(-1.0, min(1.0, sum(map(mul, one, other)) / lengths)) if lengths else 0.0
