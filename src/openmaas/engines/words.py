"""Lists of words that an operator must look out for: read from a text file, found in a text.

It knows spellings, not meanings: a word is a word whoever says it. Text and words are compared without regard to case
and width (Unicode NFKC, UAX #15) and without characters that show nothing. A word that begins or ends with a Latin
letter or a digit stands alone there ("ass" is not in "class"); Chinese is found anywhere.

    # a comment
    [violence]
    炸药
    /制作.{0,4}炸弹/        a regular expression
    [advertising] review    seen by a person, not refused
    加微信
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from openmaas.core.bounds import WORDS_BYTES_MAX
from openmaas.core.errors import FieldInvalid

Level = Literal["review", "reject"]
_HEAD = re.compile(r"\[([^\[\]]+)\]\s*(\w*)")
#: Soft hyphen, zero-width spaces and joiners, marks of direction, byte order mark.
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_LATIN = re.compile(r"[0-9a-z]")
#: Where a word ends in the tree: its category, and whether it must stand alone at its begin and at its end.
_END = ""


class Words(msgspec.Struct, frozen=True):
    """``levels`` by category. ``tree`` has the words letter by letter, ``forms`` the regular expressions."""

    levels: dict[str, Level]
    tree: dict[str, Any]
    forms: tuple[tuple[re.Pattern[str], str], ...]

    def found(self, text: str) -> set[str]:
        """The categories that have a word in ``text``."""
        text = plain(text)
        seen = {category for form, category in self.forms if form.search(text)}
        for at in range(len(text)):
            if text[at] in self.tree:
                seen.update(self._from(text, at))
        return seen

    def _from(self, text: str, at: int) -> Iterator[str]:
        node, end = self.tree, at
        while end < len(text) and (node := node.get(text[end], {})):
            end += 1
            for category, alone_before, alone_after in node.get(_END, ()):
                if alone_before and at > 0 and _LATIN.match(text[at - 1]):
                    continue
                if alone_after and end < len(text) and _LATIN.match(text[end]):
                    continue
                yield category


def plain(text: str) -> str:
    """``text`` as it is compared."""
    return _UNSEEN.sub("", unicodedata.normalize("NFKC", text).casefold())


def read_words(path: Path) -> Words:
    """The list in a file (UTF-8). Raises ``FieldInvalid`` that names the line which cannot be read."""
    if not path.is_absolute():
        raise _wrong(f"it must be a file's whole path, not {str(path)!r}")
    try:
        if path.stat().st_size > WORDS_BYTES_MAX:
            raise _wrong(f"{path} has more than {WORDS_BYTES_MAX} bytes")
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"{path} cannot be read: {error}") from None
    levels: dict[str, Level] = {}
    tree: dict[str, Any] = {}
    forms: list[tuple[re.Pattern[str], str]] = []
    category = ""
    for number, line in enumerate(lines, 1):
        entry, place = line.strip(), f"{path}, line {number}"
        if not entry or entry.startswith("#"):
            continue
        if head := _HEAD.fullmatch(entry):
            category = head[1].strip()
            levels[category] = _level(head[2], place)
        elif not category:
            raise _wrong(f"{place}: a category such as [violence] must stand before its words")
        elif len(entry) > 2 and entry.startswith("/") and entry.endswith("/"):
            forms.append((_form(entry[1:-1], place), category))
        else:
            _plant(tree, plain(entry), category, place)
    if not tree and not forms:
        raise _wrong(f"{path} has no words")
    return Words(levels, tree, tuple(forms))


def _level(text: str, place: str) -> Level:
    if text in ("", "reject"):
        return "reject"
    if text == "review":
        return "review"
    raise _wrong(f"{place}: behind a category stands review or reject, not {text!r}")


def _form(text: str, place: str) -> re.Pattern[str]:
    try:
        form = re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise _wrong(f"{place}: {error}") from None
    if form.search(""):
        raise _wrong(f"{place}: it is in every text")
    return form


def _plant(tree: dict[str, Any], word: str, category: str, place: str) -> None:
    if not word:
        raise _wrong(f"{place}: it shows nothing")
    for letter in word:
        tree = tree.setdefault(letter, {})
    tree.setdefault(_END, []).append((category, bool(_LATIN.match(word[0])), bool(_LATIN.match(word[-1]))))


def _wrong(said: str) -> FieldInvalid:
    return FieldInvalid(f"options.words: {said}", field="options.words")
