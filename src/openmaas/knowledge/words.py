"""What is looked for by its words: a word of letters is one, of Chinese and its neighbours every two characters are.

Nothing is indexed. A text is folded once, every word or run of Chinese in spaces of its own, so that a word is counted
in it by counting a string: ``" word "``, or two characters. Counting is what the interpreter does fastest.
"""

from __future__ import annotations

import re
import unicodedata

from openmaas.core.bounds import QUERY_TERMS_MAX

_HAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_RUN = re.compile(rf"(?P<han>[{_HAN}]+)|(?P<word>[^\W_{_HAN}]+)")


def folded(text: str) -> str:
    """A text as words are counted in it: without case, width and punctuation."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join([f" {found[0]} " for found in _RUN.finditer(plain)])


def terms(query: str) -> list[str]:
    """What to count for a question, each once, the first ``QUERY_TERMS_MAX``. A character alone is a term."""
    plain = unicodedata.normalize("NFKC", query).casefold()
    found: dict[str, None] = {}
    for run in _RUN.finditer(plain):
        if run["word"]:
            found[f" {run[0]} "] = None
        else:
            found.update(dict.fromkeys([run[0][at : at + 2] for at in range(max(1, len(run[0]) - 1))]))
    return list(found)[:QUERY_TERMS_MAX]
