"""Texts for an index: what a file says, cut into passages, and the words by which it is found.

Chinese, Japanese and Korean have no spaces: there, every two letters that follow each other are a word, so that words
of two letters are found and nothing must be known about the language. It knows no index.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser

from openmaas.core.bounds import SNIPPET_LENGTH

_WIDE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_WIDE}]+|[^\W_{_WIDE}]+")
_IS_WIDE = re.compile(f"[{_WIDE}]")
_UNSAID = frozenset({"script", "style", "template", "noscript"})
_BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre"})


def words(text: str) -> list[str]:
    """The words of ``text``: of ``退款 Policy`` they are ``退款 款 policy``."""
    found = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _IS_WIDE.match(run):
            found += [run[at : at + 2] for at in range(len(run))]
        else:
            found.append(run)
    return found


def terms(text: str) -> list[str]:
    """What to look for: as ``words``, without the single letter that ends a run, unless the run is one letter."""
    found = []
    for run in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if not _IS_WIDE.match(run):
            found.append(run)
        else:
            found += [run[at : at + 2] for at in range(max(len(run) - 1, 1))]
    return list(dict.fromkeys(found))


def read_text(body: bytes, suffix: str) -> tuple[str, str]:
    """Title and text of a file. What is not UTF-8 is taken for GB 18030, in which older Chinese files are."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode("gb18030", "replace")
    if suffix in (".html", ".htm"):
        page = _Page()
        page.feed(text)
        page.close()
        return " ".join("".join(page.title).split()), "".join(page.said)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return first.lstrip("# ")[:SNIPPET_LENGTH], text


def passages(text: str) -> Iterator[str]:
    """``text`` in pieces of at most ``SNIPPET_LENGTH`` characters, cut between lines where it can be."""
    begun = ""
    for line in text.splitlines():
        plain = " ".join(line.split())
        if begun and len(begun) + len(plain) + 1 > SNIPPET_LENGTH:
            yield begun
            begun = ""
        *pieces, rest = [plain[at : at + SNIPPET_LENGTH] for at in range(0, len(plain) or 1, SNIPPET_LENGTH)]
        yield from pieces
        begun = f"{begun}\n{rest}".strip()
    if begun:
        yield begun


class _Page(HTMLParser):
    """What a reader sees of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.title: list[str] = []
        self.said: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSAID or tag == "title":
            self._inside.append(tag)
        elif tag in _BLOCKS:
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if self._inside and self._inside[-1] == tag:
            self._inside.pop()
        elif tag in _BLOCKS:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.said.append(data)
        elif self._inside[-1] == "title":
            self.title.append(data)
