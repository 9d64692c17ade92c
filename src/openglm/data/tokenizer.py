"""How text becomes tokens: byte-level BPE as GLM-4 has it, or a vocabulary of characters for classical Chinese.

Both are trained here and kept in one format, the `tokenizer.json` of the `tokenizers` library: whatever reads the
published GLM tokenizers reads these. Ids: the base vocabulary first, then the 36 published marks in their order,
then the marks of the classic objectives (`specials.py`). It knows no corpus and no model.

Marks written out in a text (`<sop>`) are text, not marks, unless the caller says otherwise: nobody ends a document by
quoting its end. The exceptions are those that a decoder shows (`<think>`, `<tool_call>`): the library always takes them
for tokens.

Source: the pre-tokenizer's expression is the one of the published GLM-4 tokenizer; byte fall-back as in SentencePiece.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Library

from openglm.data import atomic
from openglm.data.specials import CONTROL, PUBLISHED, Specials, classic, find
from openglm.errors import Refused

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
STOPS = frozenset(".?!;:。？！；…\n")  # a token with one of these may end a sentence (the official list)


class Tokenizer:
    """A vocabulary in use."""

    def __init__(self, library: Library) -> None:
        """Wrap what the library read or trained.

        Raises:
            Refused: marks are missing without which nothing can be trained.
        """
        library.encode_special_tokens = True
        self.library = library
        self.specials: Specials = find(library.get_vocab(with_added_tokens=True))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a `tokenizer.json`.

        Raises:
            Refused: there is none.
            Refused: it is not one, or not GLM's.
        """
        if not path.exists():
            raise Refused(f"{path}: no tokenizer is there", hint="Train one first, or correct the path.")
        text = path.read_text(encoding="utf-8")
        try:
            library = Library.from_str(text)
        except Exception as error:  # noqa: BLE001 — the library raises plain Exception
            raise Refused(
                f"{path}: it is no tokenizer.json ({error})", hint="Give one that `tokenizers` wrote."
            ) from None
        return cls(library)

    def save(self, path: Path) -> None:
        """Write the `tokenizer.json`, whole or not at all."""
        atomic.write(path, self.library.to_str(pretty=True).encode())

    def __len__(self) -> int:
        """How many tokens there are, marks included."""
        return int(self.library.get_vocab_size(with_added_tokens=True))

    @cached_property
    def digest(self) -> str:
        """What these tokens are known by: the first 16 digits of the file's SHA-256."""
        return hashlib.sha256(self.library.to_str().encode()).hexdigest()[:16]

    @cached_property
    def ends(self) -> np.ndarray:
        """[vocabulary] of bool: which tokens contain the end of a sentence."""
        marks = {*PUBLISHED, *classic(len(self.specials.sentinel_masks) - 1)}
        return np.array([self.library.id_to_token(i) not in marks and self._stops(i) for i in range(len(self))])

    def _stops(self, token: int) -> bool:
        return not STOPS.isdisjoint(self.decode([token]))

    def encode(self, text: str, *, marks: bool = False) -> list[int]:
        """The tokens of a text. With `marks`, those written out in it are taken for marks."""
        self.library.encode_special_tokens = not marks
        return list(self.library.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The tokens of many texts, on as many cores as the library likes."""
        self.library.encode_special_tokens = True
        return [list(found.ids) for found in self.library.encode_batch(texts, add_special_tokens=False)]

    def decode(self, tokens: Sequence[int], *, marks: bool = True) -> str:
        """The text of some tokens. Without `marks`, control marks are left out."""
        return str(self.library.decode(list(tokens), skip_special_tokens=not marks))


def train_bpe(texts: Iterable[str], size: int, *, sentinels: int = 0) -> Tokenizer:
    """Byte-level BPE with GLM-4's splitting of words.

    Args:
        texts: what to learn from.
        size: the whole vocabulary, marks included; 256 bytes and the marks at least.
        sentinels: numbered pairs of marks, for the arm that wants them.

    Raises:
        Refused: `size` is too small, or the texts too few for it.
    """
    marks = (*PUBLISHED, *classic(sentinels))
    _check(size, 256 + len(marks))
    library = Library(models.BPE(ignore_merges=True))
    library.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(marks),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    library.train_from_iterator(texts, trainer)
    return _finished(library, marks, size)


def train_characters(texts: Iterable[str], size: int, *, sentinels: int = 0) -> Tokenizer:
    """The most frequent characters, a token each; any other one is written as its UTF-8 bytes.

    Args:
        texts: what to count.
        size: the whole vocabulary: 256 bytes, the marks, and characters for the rest.
        sentinels: numbered pairs of marks, for the arm that wants them.

    Raises:
        Refused: `size` is too small, or the texts have too few characters for it.
    """
    marks = (*PUBLISHED, *classic(sentinels))
    _check(size, 256 + len(marks))
    counted: Counter[str] = Counter()
    for text in texts:
        counted.update(text)
    # by frequency, then by code point: the same texts give the same ids
    characters = sorted(counted, key=lambda c: (-counted[c], c))[: size - 256 - len(marks)]
    names = [*(f"<0x{byte:02X}>" for byte in range(256)), *characters]
    library = Library(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[], byte_fallback=True))
    library.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return _finished(library, marks, size)


def _check(size: int, least: int) -> None:
    if size < least:
        raise Refused(f"size: {size} is too small; the bytes and the marks alone are {least}", hint="Make it larger.")


def _finished(library: Library, marks: tuple[str, ...], size: int) -> Tokenizer:
    known = {*CONTROL, *marks[len(PUBLISHED) :]}
    library.add_tokens([AddedToken(name, normalized=False, special=name in known) for name in marks])
    if (found := library.get_vocab_size(with_added_tokens=True)) != size:
        raise Refused(f"size: the texts give only {found} tokens of {size}", hint="Make it smaller, or give more text.")
    return Tokenizer(library)
