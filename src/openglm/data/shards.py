"""Tokens on disk: a corpus is tokenised once, into files that are mapped into memory and never read whole.

    folder/00000.tokens   the tokens of documents 0 … n-1, end to end, as uint16 or uint32 (little endian)
    folder/00000.ends     where each of them ends, as uint64
    folder/00000.json     how many, and their digest: written last, so that a shard with one is complete
    folder/index.json     every shard: written last of all

A shard holds a fixed number of documents, so that whoever was interrupted goes on at the next shard and gets the same
bytes. It knows neither corpora nor tokenizers: texts come in, and a function that makes tokens of them. `batches.py`
reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from openglm.data import atomic
from openglm.data.rows import Ints
from openglm.errors import Refused

EncodeBatch = Callable[[list[str]], list[list[int]]]
Tell = Callable[[int, int], None]  # documents and tokens so far

BATCH = 1024  # texts that are tokenised together: enough to keep a parallel tokenizer busy


def write(
    folder: Path,
    texts: Iterable[str],
    encode: EncodeBatch,
    *,
    vocabulary: int,
    eos: int,
    source: str,
    documents_per_shard: int = 1 << 16,
    tell: Tell | None = None,
) -> Shards:
    """Tokenise `texts` into `folder`, each ended by `eos`; a folder that is complete is only opened.

    Args:
        folder: where to; made if it is missing.
        texts: the documents, in the same order every time.
        encode: texts → their tokens, all below `vocabulary`.
        vocabulary: how many tokens there are; decides between two and four bytes for each.
        eos: the token that ends a document.
        source: what these tokens are made of (a digest of corpus, split and tokenizer), kept to know them again.
        documents_per_shard: how much is lost, at most, by being interrupted.
        tell: called now and then with the documents and tokens that are done.

    Raises:
        Refused: the folder has tokens of another source, or there are no texts.
    """
    if (folder / "index.json").exists():
        return Shards(folder, source)
    dtype = np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")
    waiting = iter(texts)
    shards: list[dict[str, Any]] = []
    documents = tokens = 0
    while part := list(islice(waiting, documents_per_shard)):
        note = folder / f"{len(shards):05}.json"
        if not note.exists():
            _write_shard(note, part, encode, dtype, eos, source)
        shards.append(_known(note, source))
        documents, tokens = documents + shards[-1]["documents"], tokens + shards[-1]["tokens"]
        if tell is not None:
            tell(documents, tokens)
    if not shards:
        raise Refused("texts: there are none", hint="Look at what the corpus gives: openglm.data.corpora.")
    index = {"source": source, "dtype": dtype.str, "vocabulary": vocabulary, "eos": eos, "shards": shards}
    atomic.write(folder / "index.json", json.dumps(index, indent=1).encode())
    return Shards(folder, source)


def _write_shard(note: Path, part: list[str], encode: EncodeBatch, dtype: np.dtype, eos: int, source: str) -> None:
    lengths: list[int] = []
    pieces: list[np.ndarray] = []
    for start in range(0, len(part), BATCH):
        for tokens in encode(part[start : start + BATCH]):
            pieces.append(np.array([*tokens, eos], dtype))
            lengths.append(len(tokens) + 1)
    body = np.concatenate(pieces).tobytes()
    ends = np.cumsum(lengths).astype("<u8")
    atomic.write(note.with_suffix(".tokens"), body)
    atomic.write(note.with_suffix(".ends"), ends.tobytes())
    digest = hashlib.sha256(body + ends.tobytes()).hexdigest()
    told = {"source": source, "documents": len(lengths), "tokens": int(ends[-1]), "sha256": digest}
    atomic.write(note, json.dumps(told).encode())


def _known(note: Path, source: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(note.read_text())
    if told["source"] != source:
        raise Refused(
            f"source: {note.parent} has tokens of another corpus or tokenizer ({told['source']})",
            hint="Name another folder, or remove this one.",
        )
    return told


class Shards:
    """The tokens of a corpus, mapped into memory. Several processes share the same pages."""

    def __init__(self, folder: Path, source: str | None = None) -> None:
        """Open what `write` left.

        Raises:
            Refused: the folder is not complete.
            Refused: it is of another `source` than is expected.
        """
        if not (folder / "index.json").exists():
            raise Refused(f"{folder}: no complete shards are there", hint="Tokenise the corpus first.")
        index = json.loads((folder / "index.json").read_text())
        if source is not None and index["source"] != source:
            raise Refused(
                f"source: {folder} has tokens of another corpus or tokenizer ({index['source']})",
                hint="Name another folder, or remove this one.",
            )
        self.folder = folder
        self.source: str = index["source"]
        self.vocabulary: int = index["vocabulary"]
        self.eos: int = index["eos"]
        self._digests: list[str] = [told["sha256"] for told in index["shards"]]
        names = [folder / f"{i:05}" for i in range(len(self._digests))]
        self._tokens = [np.memmap(name.with_suffix(".tokens"), np.dtype(index["dtype"]), "r") for name in names]
        self._ends = [np.fromfile(name.with_suffix(".ends"), "<u8").astype(np.int64) for name in names]
        self._first = np.cumsum([0, *map(len, self._ends)])  # the first document of each shard
        self.lengths: Ints = np.concatenate([np.diff(ends, prepend=0) for ends in self._ends])  # [documents]
        self.tokens = int(self.lengths.sum())

    def __len__(self) -> int:
        """How many documents there are."""
        return len(self.lengths)

    def piece(self, document: int, start: int = 0, end: int | None = None) -> Ints:
        """Tokens `start` to `end` of one document; its last one is the end of document."""
        assert 0 <= document < len(self), "piece: no such document"
        shard = int(np.searchsorted(self._first, document, side="right")) - 1
        within = document - int(self._first[shard])
        offset = int(self._ends[shard][within - 1]) if within else 0
        length = int(self.lengths[document])
        stop = length if end is None else min(end, length)
        return self._tokens[shard][offset + start : offset + stop].astype(np.int64)

    def documents(self) -> Iterator[Ints]:
        """Every document, in order."""
        for document in range(len(self)):
            yield self.piece(document)

    def verify(self) -> None:
        """Read everything and compare its digests.

        Raises:
            Refused: a file is not what was written.
        """
        for i, digest in enumerate(self._digests):
            name = self.folder / f"{i:05}"
            body = name.with_suffix(".tokens").read_bytes() + name.with_suffix(".ends").read_bytes()
            if hashlib.sha256(body).hexdigest() != digest:
                raise Refused(
                    f"{name}: its bytes changed since they were written", hint="Remove the folder and write it anew."
                )
