"""One base in memory: all its vectors as one matrix, all its texts folded. An exact search looks at every one of them.

This is the one module that needs numpy, of the extra ``knowledge``. BM25: https://doi.org/10.1561/1500000019
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from openmaas.knowledge.words import folded, terms

Scores = npt.NDArray[np.float32]
#: BM25's, as everywhere: how soon more of the same word counts less, and how much a long text is held against it.
_K1, _B = 1.2, 0.75


class Row(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a document that is ready."""

    document_id: str
    document_name: str
    number: int
    text: str
    vector: bytes


class Index:
    """What one version of a base is searched in. ``rows`` are in the order of the scores."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = [msgspec.structs.replace(row, vector=b"") for row in rows]
        lengths = {len(row.vector) for row in rows}
        assert len(lengths) <= 1, "all vectors of a base have one length"
        matrix = np.frombuffer(b"".join([row.vector for row in rows]), "<f4").reshape(len(rows), -1 if rows else 0)
        self.vector_length = matrix.shape[1]
        sizes = np.linalg.norm(matrix, axis=1, keepdims=True)
        self._vectors = np.divide(matrix, sizes, out=np.zeros_like(matrix), where=sizes > 0)
        self._texts = [folded(row.text) for row in rows]
        lengths_of = np.array([len(text) for text in self._texts], np.float32)
        self._held = _K1 * (1 - _B + _B * lengths_of / max(float(lengths_of.mean()) if rows else 0.0, 1.0))
        self.size_bytes = self._vectors.nbytes + sum(
            sys.getsizeof(row.text) + sys.getsizeof(text) for row, text in zip(rows, self._texts, strict=True)
        )

    def similarities(self, vector: Sequence[float]) -> Scores:
        """The cosine of every chunk with a question's vector, negative ones as 0."""
        if not self.rows:
            return np.zeros(0, np.float32)
        asked = np.array(vector, np.float32)
        length = float(np.linalg.norm(asked))
        return np.asarray(np.clip(self._vectors @ (asked / length if length else asked), 0, 1), np.float32)

    def relevances(self, query: str) -> Scores:
        """BM25 of every chunk with a question's words, moved into 0 to 1 (``s / (1 + s)``); 0: it has none of them.
        A text's length is counted in characters."""
        total = np.zeros(len(self.rows), np.float32)
        for term in terms(query):
            counts = np.array([text.count(term) for text in self._texts], np.float32)
            having = int(np.count_nonzero(counts))
            rarity = np.log1p((len(self.rows) - having + 0.5) / (having + 0.5))
            total += rarity * counts * (_K1 + 1) / (counts + self._held)
        return np.asarray(total / (1 + total), np.float32)

    def best(self, scores: Scores, count: int, documents: Collection[str]) -> list[int]:
        """The places of the best scores above 0, the best first; of ``documents`` alone when there are any."""
        if documents:
            scores = np.where([row.document_id in documents for row in self.rows], scores, 0)
        order = np.argsort(-scores, kind="stable")[:count]
        return [int(at) for at in order if scores[at] > 0]
