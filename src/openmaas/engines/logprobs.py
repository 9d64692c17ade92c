"""Log probabilities as ``/v1/completions`` spells them: engines give those of chats there, too.

It knows tokens as chats spell them, and no engine. https://platform.openai.com/docs/api-reference/completions/object
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class LegacyLogprobs:
    """Rewrites those of one answer. ``before`` says how many characters stand before the answer of a choice."""

    def __init__(self, before: Callable[[int], int] = lambda _index: 0) -> None:
        self._offsets: dict[int, int] = {}
        self._before = before

    def rewrite(self, choices: bytes) -> bytes:
        """The ``choices`` of an event, rewritten."""
        found = msgspec.json.decode(choices)
        for choice in found:
            tokens = (choice.get("logprobs") or {}).get("content")
            if tokens is not None:
                choice["logprobs"] = self.spell(choice["index"], tokens)
        return msgspec.json.encode(found)

    def spell(self, index: int, tokens: list[dict[str, Any]]) -> dict[str, list[Any]]:
        """The next ``tokens`` of the choice ``index``."""
        spelt: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token in tokens:
            offset = self._offsets.get(index, self._before(index))
            self._offsets[index] = offset + len(token["token"])
            spelt["tokens"].append(token["token"])
            spelt["token_logprobs"].append(token["logprob"])
            spelt["top_logprobs"].append({top["token"]: top["logprob"] for top in token["top_logprobs"]})
            spelt["text_offset"].append(offset)
        return spelt
