"""Rewrites what llama.cpp says where the OpenAI wire has it otherwise: a prompt given back, shorter vectors.

It knows events, and no request.
"""

from __future__ import annotations

import msgspec

from openmaas.engines.llama.prompts import Echoed
from openmaas.engines.shorter import packed, shortened, unpacked


class Echo:
    """Puts what was asked before what is answered (``echo``): each prompt has ``choices``, one after another. With
    ``alone`` nothing is answered: llama.cpp makes a token all the same, which is dropped."""

    def __init__(self, prompts: list[Echoed], choices: int, *, alone: bool) -> None:
        self.alone = alone
        self._prompts = prompts
        self._choices = choices
        self._begun: set[int] = set()

    def length(self, index: int) -> int:
        """The characters before the answer of a choice."""
        return len(self._prompt(index).text)

    def rewrite(self, choices: bytes) -> bytes:
        """The ``choices`` of an event, rewritten where one begins."""
        found = msgspec.json.decode(choices)
        for choice in found:
            if self.alone:
                ended = choice["finish_reason"] is not None
                choice |= {"text": "", "logprobs": None, "finish_reason": "length" if ended else None}
            if choice["index"] not in self._begun:
                self._begun.add(choice["index"])
                prompt = self._prompt(choice["index"])
                choice["text"] = prompt.text + choice["text"]
                if prompt.logprobs is not None:
                    of_answer = choice.get("logprobs") or {}
                    choice["logprobs"] = {
                        name: values + of_answer.get(name, []) for name, values in prompt.logprobs.items()
                    }
        return msgspec.json.encode(found)

    def _prompt(self, index: int) -> Echoed:
        return self._prompts[index // self._choices]


def shorter(data: bytes, dimensions: int) -> bytes:
    """The ``data`` of embeddings with ``dimensions`` numbers each."""
    rows = msgspec.json.decode(data)
    for row in rows:
        told = row["embedding"]
        vector = shortened(unpacked(told) if isinstance(told, str) else told, dimensions)
        row["embedding"] = packed(vector) if isinstance(told, str) else vector
    return msgspec.json.encode(rows)
