"""Text that arrives in pieces, read up to a tag: half a tag at its end is held back, and nothing else is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from openmaas.core.bounds import TOOL_BITE_MAX


class Tape:
    """What has come and is not read yet."""

    def __init__(self) -> None:
        self.text = ""

    def until(self, *tags: str) -> tuple[str, str]:
        """Read up to the first of ``tags`` and past it: (text before it, the tag). Without a tag: (what cannot be part
        of one, "")."""
        found = _finder(tags).search(self.text)
        if found is not None:
            before, self.text = self.text[: found.start()], self.text[found.end() :]
            return before, found.group()
        keep = len(self.text) - held(self.text, tags)
        before, self.text = self.text[:keep], self.text[keep:]
        return before, ""

    def rest(self) -> str:
        """Read all that is left."""
        text, self.text = self.text, ""
        return text


def held(text: str, tags: tuple[str, ...]) -> int:
    """How many characters at the end of ``text`` may be the beginning of one of ``tags``."""
    longest = max(map(len, tags)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        end = text[-size:]
        if any(tag.startswith(end) for tag in tags):
            return size
    return 0


def bites(text: str) -> Iterator[str]:
    """``text`` in pieces that are cheap to copy, because a step may copy all that it leaves unread."""
    for start in range(0, len(text), TOOL_BITE_MAX):
        yield text[start : start + TOOL_BITE_MAX]


@lru_cache(maxsize=32)
def _finder(tags: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(re.escape, tags)))
