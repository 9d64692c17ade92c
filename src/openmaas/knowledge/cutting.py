"""Cuts a text into chunks: pure functions of text, which know nothing of documents or models.

A chunk never goes across a wall, which Zhipu's number of a way to cut says: a heading, an empty line, a line, a page.
Between walls a chunk is as long as its bound allows and ends at the best seam of its second half: a separator of the
caller's, a paragraph, a line, the end of a sentence, a space; anywhere else only where there is none. The next begins
with the last sentence again if it is short, and with some characters where a word was torn.

https://docs.bigmodel.cn/api-reference/知识库-api/上传文件文档 (``knowledge_type``)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from openmaas.core.bounds import OVERLAP_SHARE

#: By ``knowledge_type``: what a chunk never goes across. A match belongs to what is before it.
WALLS: dict[int, re.Pattern[str] | None] = {
    1: re.compile(r"\n(?=#{1,6} )"),  # article: headings
    2: re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+"),  # questions and answers: an empty line between two pairs
    3: re.compile(r"\n"),  # a table of questions and answers: rows
    4: re.compile(r"\n"),  # a table of goods: rows
    5: None,  # as the caller's separators say
    6: re.compile(r"\f"),  # pages
    7: re.compile(r"\n"),  # a table, row by row
}
_SENTENCE = re.compile(r"[。！？；!?…]+[\"'”’」』）)]*|\.[\"'”’)]*(?=\s)")
_SEAMS = (re.compile(r"\n\s*\n"), re.compile(r"\n"), _SENTENCE, re.compile(r"\s"))


def spans(text: str, knowledge_type: int, separators: Sequence[str], size: int) -> list[tuple[int, int]]:
    """Beginning and end of each chunk, in order. Together they cover the text, none is longer than ``size``, and none
    begins more than one part in ``OVERLAP_SHARE`` of ``size`` before the end of the one before."""
    seams = (*[re.compile(re.escape(each)) for each in separators if each], *_SEAMS)
    found = []
    for begin, end in _rooms(text, WALLS[knowledge_type]):
        at = begin
        while end - at > size:
            cut = _seam(text, at + size // 2, at + size, seams)
            found.append((at, cut or at + size))
            at = _back(text, found[-1][1], size // OVERLAP_SHARE, torn=cut is None)
        found.append((at, end))
    return found


def chunks(text: str, knowledge_type: int, separators: Sequence[str], size: int) -> list[str]:
    """What the spans hold, without white space around it; what is nothing else is left out."""
    cut = [text[begin:end].strip() for begin, end in spans(text, knowledge_type, separators, size)]
    return [each for each in cut if each]


def _rooms(text: str, wall: re.Pattern[str] | None) -> list[tuple[int, int]]:
    ends = [found.end() for found in wall.finditer(text)] if wall is not None else []
    edges = sorted({0, *ends, len(text)})
    return list(pairwise(edges))


def _seam(text: str, low: int, high: int, seams: Sequence[re.Pattern[str]]) -> int | None:
    """Where to cut: behind ``low``, not behind ``high``; None where nothing ends."""
    for seam in seams:
        ends = [found.end() for found in seam.finditer(text, low, high) if found.end() > low]
        if ends:
            return ends[-1]
    return None


def _back(text: str, cut: int, most: int, *, torn: bool) -> int:
    """Where what follows ``cut`` begins: the first beginning of a sentence in the last ``most`` characters. Without one
    it is ``cut`` itself, or as far back as may be where no seam was."""
    for found in _SENTENCE.finditer(text, cut - most, cut):
        if found.end() < cut:
            return found.end()
    return cut - most if torn else cut
