"""From conversations and texts to tokens, and from tokens to bytes: the weights' tokenizer and its chat template.

The bytes of each token are read once, so that an answer needs no detokenizer: a token is a few bytes whatever stands
before it, which is so where the vocabulary is made of bytes. Where it is not (SentencePiece), loading says so. It
knows no pipeline and no request; the engine calls it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from openmaas.core.errors import ContextExceeded, EngineFailed, FieldInvalid

#: What a vocabulary of bytes gives back as it is: spaces at the ends, other scripts, a picture of four bytes.
_PROBE = " Hello, world!\n  def f(x): 北京 é \U0001f40b "


class Vocabulary:
    """The tokens of one model. ``template`` is the chat template in place of the tokenizer's own."""

    def __init__(self, tokenizer: Any, template: str, context: int) -> None:
        """``context`` is tokens of prompt and answer. Raises ``EngineFailed``."""
        self._tokenizer = tokenizer
        self._context = context
        self.template: str = template or tokenizer.chat_template
        named: dict[int, bytes] = {number: piece for piece, number in tokenizer.get_vocab().items()}
        self.size = max(named) + 1
        marks = _marks(tokenizer, self.size)
        self.pieces = [b"" if number in marks else named.get(number, b"") for number in range(self.size)]
        self._longest = max(map(len, named.values()))
        said = b"".join(self.pieces[token] for token in self._encode(_PROBE, special=False))
        if said.decode("utf-8", "replace") != _PROBE:
            told = (
                "the tokenizer of these weights is not made of bytes, which openvino needs here; deploy them on llama"
            )
            raise EngineFailed(told)

    def chat(self, messages: Sequence[dict[str, Any]], tools: Any, told: dict[str, Any] | None) -> list[int]:
        """A conversation as the template writes it; ``told`` is what the template is told beside it. Raises
        ``FieldInvalid`` and ``ContextExceeded``."""
        history = [_plain(message) for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                history, add_generation_prompt=True, chat_template=self.template, tools=tools, extra_context=told
            )
        except RuntimeError as error:
            said = str(error).strip().splitlines()[-1]
            raise FieldInvalid(f"messages: the chat template refuses them: {said}", field="messages") from None
        return self._fitting(text, "messages", special=False)

    def text(self, prompt: str | list[int]) -> list[int]:
        """A prompt to be continued, with what the model wants before any text. Raises as ``chat`` does."""
        if isinstance(prompt, str):
            return self._fitting(prompt, "prompt", special=True)
        if wrong := [token for token in prompt if not 0 <= token < self.size]:
            said = f"prompt: {wrong[0]} is no token of this model; ids go from 0 to {self.size - 1}"
            raise FieldInvalid(said, field="prompt")
        return self._checked(prompt, "prompt")

    def _fitting(self, text: str, field: str, *, special: bool) -> list[int]:
        """``text`` as tokens. One that cannot fit is refused before time is spent on it."""
        if len(text) > self._context * self._longest:
            return self._refuse(len(text) // self._longest, field)
        return self._checked(self._encode(text, special=special), field)

    def _checked(self, tokens: list[int], field: str) -> list[int]:
        if not tokens:
            raise FieldInvalid(f"{field} must not be empty", field=field)
        return tokens if len(tokens) < self._context else self._refuse(len(tokens), field)

    def _refuse(self, tokens: int, field: str) -> list[int]:
        said = f"the prompt has {tokens} tokens or more, and {self._context} are prompt and answer together"
        raise ContextExceeded(said, field=field).counted(tokens, self._context)

    def _encode(self, text: str, *, special: bool) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=special).input_ids.data[0].tolist()
        return found


def _marks(tokenizer: Any, size: int) -> set[int]:
    """The tokens that are no text, such as the one that ends an answer. A piece of a character shows nothing, too, but
    it does so either way."""
    each = [[number] for number in range(size)]
    shown, hidden = tokenizer.decode(each, skip_special_tokens=False), tokenizer.decode(each)
    return {number for number in range(size) if shown[number] and not hidden[number]}


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message as chat templates expect it: content as text, the arguments of a call as an object."""
    content = message.get("content")
    plain = {**message, "content": content if isinstance(content, str) else "\n".join(_texts(content))}
    if calls := message.get("tool_calls"):
        plain["tool_calls"] = [_call(call) for call in calls]
    return plain


def _texts(content: Any) -> list[str]:
    return [part["text"] for part in content or ()]


def _call(call: dict[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = msgspec.json.decode(arguments)
        except msgspec.DecodeError:
            raise FieldInvalid("messages: the arguments of a call must be JSON", field="messages") from None
    return {**call, "function": function}
