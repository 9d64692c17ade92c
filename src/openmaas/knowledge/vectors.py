"""What an embeddings request says and answers, on the wire of OpenAI: texts in, vectors as they are kept out."""

from __future__ import annotations

import struct

import msgspec

from openmaas.core.bounds import KNOWLEDGE_VECTOR_MAX
from openmaas.core.errors import EngineFailed

TARGET = "/v1/embeddings"


class _Row(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Row]


_answer = msgspec.json.Decoder(_Answer)


def asked(model: str, texts: list[str]) -> bytes:
    """The request. The same texts make the same bytes."""
    return msgspec.json.encode({"model": model, "input": texts, "encoding_format": "float"})


def heard(body: bytes, count: int) -> list[list[float]]:
    """The vectors in the order of the texts, all of one length. Raises ``EngineFailed`` for anything else."""
    try:
        rows = sorted(_answer.decode(body).data, key=lambda row: row.index)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"its answer was no list of vectors ({error})") from None
    lengths = {len(row.embedding) for row in rows}
    if [row.index for row in rows] != list(range(count)) or len(lengths) != 1:
        raise EngineFailed("its answer lacks vectors")
    if not 0 < lengths.pop() <= KNOWLEDGE_VECTOR_MAX:
        raise EngineFailed(f"a vector may have {KNOWLEDGE_VECTOR_MAX} numbers")
    return [row.embedding for row in rows]


def packed(vector: list[float]) -> bytes:
    """A vector as it is kept. Raises ``EngineFailed`` for a number that is too large."""
    try:
        return struct.pack(f"<{len(vector)}f", *vector)
    except OverflowError:
        raise EngineFailed("its vectors have numbers that are too large") from None
