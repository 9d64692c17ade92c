"""From what was written to what the model reads: tokens with blanks among them, and the texts that stand around these.

    The [MASK] is blue.      a blank where the mark is; [sMASK] and [gMASK] likewise
    prompt and suffix        a [MASK] between the two
    no mark anywhere         a [gMASK] behind it: the text goes on
    token ids                as they are, by the same rules

Only these three marks are read as marks; ``<sop>`` written in a text is text. Nothing is added in front or behind, so
what a checkpoint wants there (``[CLS]``, ``<|endoftext|>``) is sent as token ids. It knows no model and no request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openglm.data.tokenizer import Tokenizer
from openglm.models.infill import Marks
from openmaas.core.errors import ContextExceeded, FieldInvalid

_MARKS = re.compile(r"(\[MASK\]|\[sMASK\]|\[gMASK\])")


@dataclass(frozen=True, slots=True)
class Prompt:
    """``tokens`` with blanks; ``between`` are the texts from each blank to the next, one less than there are blanks."""

    tokens: list[int]
    between: list[str]


class Prompts:
    """Makes prompts with one tokenizer."""

    def __init__(self, tokenizer: Tokenizer, *, context: int, vocabulary: int) -> None:
        """``context`` is the model's, in tokens; ``vocabulary`` how many of them it knows."""
        self._tokenizer = tokenizer
        self._context = context
        self._vocabulary = vocabulary
        specials = tokenizer.specials
        self._ids = {"[MASK]": specials.mask, "[sMASK]": specials.smask, "[gMASK]": specials.gmask}
        self._longest = max(len(name) for name in tokenizer.library.get_vocab(with_added_tokens=True))
        self.marks = Marks.of(specials)

    def read(self, written: str | list[int], suffix: str | None) -> Prompt:
        """``written``, with a blank at least. Raises ``FieldInvalid`` and ``ContextExceeded``."""
        parts = self._ids_of(written) if isinstance(written, list) else self._parts(written, "prompt")
        if suffix:
            parts += ["[MASK]", *self._parts(suffix, "suffix")]
        if not any(part in self._ids for part in parts if isinstance(part, str)):
            parts.append("[gMASK]")
        tokens: list[int] = []
        between: list[str] = []
        for part in parts:
            if isinstance(part, str) and part in self._ids:
                tokens.append(self._ids[part])
                between.append("")
                continue
            text, found = (part, self._tokenizer.encode(part)) if isinstance(part, str) else ("", part)
            tokens += found
            if between:
                between[-1] += text or self._tokenizer.decode(found)
        if len(tokens) >= self._context:
            said = f"the prompt has {len(tokens)} tokens, and {self._context} are prompt and answer together"
            raise ContextExceeded(said, field="prompt").counted(len(tokens), self._context)
        return Prompt(tokens, between[:-1])

    def _parts(self, text: str, field: str) -> list[str | list[int]]:
        """``text``, cut at its marks. A text that cannot fit is refused before time is spent on it."""
        if len(text) > self._context * self._longest:
            least = len(text) // self._longest
            raise ContextExceeded(
                f"{field} has more than {least} tokens, and {self._context} are prompt and answer together", field=field
            ).counted(least, self._context)
        return [part for part in _MARKS.split(text) if part]

    def _ids_of(self, ids: list[int]) -> list[str | list[int]]:
        names = {number: name for name, number in self._ids.items()}
        if wrong := [number for number in ids if not 0 <= number < self._vocabulary]:
            raise FieldInvalid(
                f"prompt: {wrong[0]} is no token of this model; ids go from 0 to {self._vocabulary - 1}", field="prompt"
            )
        parts: list[str | list[int]] = []
        run: list[int] = []
        for number in ids:
            if number in names:
                parts += [run, names[number]]
                run = []
            else:
                run.append(number)
        return [part for part in [*parts, run] if part]
