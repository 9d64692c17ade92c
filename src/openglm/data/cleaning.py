"""From a file of a package to documents: what each kind of corpus is freed of before a model reads it.

Pure functions of a member's name and bytes, named in `corpora.toml`. They know nothing of archives, and do not care
whether two documents are the same (`splitting.py` does).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from openglm.bounds import (
    ENTRY_LETTERS_MIN,
    MODULE_BYTES_MAX,
    PAGE_LETTERS_MIN,
    POEM_LETTERS_MAX,
    POEM_LETTERS_MIN,
    TITLE_LETTERS_MAX,
)

NOTES = re.compile(r"（[^）]*）|\([^)]*\)|〖[^〗]*〗|\[[^\]]*\]|\{[^}]*\}|〔[^〕]*〕")
LOST = re.compile(r"[□■�?？]{2,}|[□■�=⿰-⿻]|[A-Za-z\ue000-\uf8ff]")  # characters that nobody could read or encode
PUNCTUATION = str.maketrans({",": "，", ";": "；", ":": "：", "!": "！", "?": "？", ".": "。", "　": None, " ": None})
SKIPPED = re.compile(
    r"(^|/)(tests?|idlelib|lib2to3|encodings|pydoc_data|idle_test|turtledemo|__phello__)(/|\.py)|_test\.py"
)
ENTRY = re.compile(r"\n\n(?=\S)")
ATTRIBUTION = re.compile(r"\s*\[(?:1913 Webster|PJC|Webster 1913 Suppl\.|WordNet[^\]]*|[^\]]*\+PJC|RP)\]")


def _lines(found: Any) -> list[str]:
    lines = [NOTES.sub("", str(line)).translate(PUNCTUATION).strip() for line in found or []]
    return [line for line in lines if line]


def poems(name: str, body: bytes) -> Iterator[str]:
    """A poem a document: its title (or the name of its tune) on a line, then its lines."""
    for poem in json.loads(body):
        lines = _lines(poem.get("paragraphs") or poem.get("content") or poem.get("para"))
        text = "\n".join(lines)
        if not POEM_LETTERS_MIN <= len(text) <= POEM_LETTERS_MAX or LOST.search(text):
            continue
        title = NOTES.sub("", str(poem.get("title") or poem.get("rhythmic") or "")).strip()
        yield f"{title}\n{text}" if title and len(title) <= TITLE_LETTERS_MAX and not LOST.search(title) else text


def classics(name: str, body: bytes) -> Iterator[str]:
    """A chapter a document, wherever it stands in the file's tree."""

    def chapters(node: Any) -> Iterator[list[str]]:
        for part in node.values() if isinstance(node, dict) else node:
            if isinstance(part, list) and part and all(isinstance(line, str) for line in part):
                yield part
            elif isinstance(part, dict | list):
                yield from chapters(part)

    for chapter in chapters(json.loads(body)):
        text = "\n".join(_lines(chapter))
        if len(text) >= POEM_LETTERS_MIN and not LOST.search(text):
            yield text


def python(name: str, body: bytes) -> Iterator[str]:
    """A module a document, if it is no test and no table."""
    if SKIPPED.search(name) or len(body) > MODULE_BYTES_MAX:
        return
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return
    text = "\n".join(line.rstrip() for line in text.splitlines()).strip()
    if text:
        yield text + "\n"


def prose(name: str, body: bytes) -> Iterator[str]:
    """A page a document: no trailing spaces, at most one empty line in a row."""
    text = (gzip.decompress(body) if name.endswith(".gz") else body).decode(errors="replace")
    text = "\n".join(line.rstrip() for line in text.splitlines())
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if len(text) >= PAGE_LETTERS_MIN and "�" not in text:
        yield text + "\n"


def dictionary(name: str, body: bytes) -> Iterator[str]:
    """An entry a document: its paragraphs on a line each, without attributions and the braces of references."""
    text = gzip.decompress(body).decode(errors="replace")
    for entry in ENTRY.split(text):
        told = ATTRIBUTION.sub("", entry).replace("{", "").replace("}", "")
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", told)]
        line = "\n".join(part for part in paragraphs if part)
        if len(line) >= ENTRY_LETTERS_MIN and "�" not in line and not line.startswith("00-database"):
            yield line


CLEANERS: dict[str, Callable[[str, bytes], Iterator[str]]] = {
    "poems": poems,
    "classics": classics,
    "python": python,
    "prose": prose,
    "dictionary": dictionary,
}
