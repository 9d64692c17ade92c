"""Which documents are trained on and which are held out: decided by a hash, so that it is the same on every machine.

Three laws: the same text twice counts once; a document's side depends on its own letters alone, so that a corpus that
grows moves nothing; and what is held out but stands in the training text as well, in other words or another edition, is
left out altogether. It knows no corpus.

The third is a rule of thumb: a held-out document goes if more than `LEAKED_SHARE_MAX` of its runs of `RUN` units
(Chinese characters, or words) are in a document that is trained on.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from openglm.bounds import LEAKED_SHARE_MAX

RUN = 8
UNIT = re.compile(r"[\u3400-\u9fff\U00020000-\U000323af]|[^\W\u3400-\u9fff\U00020000-\U000323af]+")


@dataclass(frozen=True, slots=True)
class Split:
    """A corpus in two, each in the order in which it came."""

    train: list[str]
    held_out: list[str]
    repeated: int  # documents that were there already
    leaked: int  # documents that would have been held out, and are in the training text


def units(text: str) -> list[str]:
    """The letters that count, without spaces, punctuation, case and width."""
    return UNIT.findall(unicodedata.normalize("NFKC", text).casefold())


def _runs(found: list[str]) -> set[str]:
    return {" ".join(found[i : i + RUN]) for i in range(max(1, len(found) - RUN + 1))}


def split(texts: Iterable[tuple[str, int]]) -> Split:
    """Divide texts, each given with how many in a thousand of its kind are held out."""
    seen: set[bytes] = set()
    train: list[str] = []
    held_out: list[str] = []
    repeated = 0
    for text, permille in texts:
        digest = hashlib.sha256(" ".join(units(text)).encode()).digest()[:16]
        if digest in seen:
            repeated += 1
            continue
        seen.add(digest)
        (held_out if int.from_bytes(digest[:8]) % 1000 < permille else train).append(text)
    kept = _unleaked(train, held_out)
    return Split(train, kept, repeated, len(held_out) - len(kept))


def _unleaked(train: list[str], held_out: list[str]) -> list[str]:
    runs = [_runs(units(text)) for text in held_out]
    wanted = set().union(*runs)
    found: set[str] = set()
    for text in train if wanted else []:
        found |= _runs(units(text)) & wanted
    return [
        text for text, mine in zip(held_out, runs, strict=True) if len(mine & found) <= LEAKED_SHARE_MAX * len(mine)
    ]
