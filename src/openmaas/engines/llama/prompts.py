"""What a completion may ask of its prompt that llama.cpp's completions do not know: a gap in the middle of it to be
filled (``suffix``), and the prompt given back (``echo``), with the probability of each of its tokens (``logprobs``).

It knows prompts and llama.cpp's endpoints, and nothing of how an answer is told; ``run`` asks it before it sends one.

The gap: a model that learnt to fill one has tokens of its own that stand around what is before and behind it (Bavarian
et al., https://arxiv.org/abs/2207.14255). llama.cpp's ``/infill`` takes three quarters of a batch of what is before
and a quarter of what is behind, and drops the rest without a word; so the prompt is put together here, whole.

The probabilities: llama.cpp tells those of tokens that it samples. So the prompt is recited: a grammar allows one token
after another, those of the prompt, and the probability told is that before the grammar. It costs a step of generation
for each token, and counts as what it is to the caller, a prompt that was read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from openmaas.core.bounds import RECITED_TOKENS
from openmaas.core.errors import ContextExceeded, EngineFailed, FieldInvalid
from openmaas.engines.llama.inner import ask
from openmaas.engines.llama.servers import Voice

#: Before, behind and where the gap is, as model families call them: Qwen2.5-Coder and CodeGemma; StarCoder; SantaCoder;
#: DeepSeek-Coder; CodeLlama; GLM-4 and CodeGeeX. Which of them a model has, its own list of tokens says.
MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
)

#: Alternatives among which a piece of a character is looked for; behind these, all tokens that there are.
ALTERNATIVES = 1_000


class Echoed(msgspec.Struct, frozen=True):
    """A prompt as it is given back; ``logprobs`` as ``/v1/completions`` spells them, None when nobody asked."""

    text: str
    logprobs: dict[str, list[Any]] | None = None


class _Token(msgspec.Struct):
    id: int
    token: str
    logprob: float
    bytes: list[int] = []
    top_logprobs: list[_Token] = []


class _Logprobs(msgspec.Struct):
    content: list[_Token]


class _Choice(msgspec.Struct):
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Said(msgspec.Struct):
    choices: list[_Choice]


class _Recited(msgspec.Struct):
    """``whole``: all was said; else it ended with the last one that was told of."""

    content: list[_Token]
    whole: bool


class Prompts:
    """The prompts of one completion. ``logprobs`` is how many alternatives of each of their tokens are told, 0 for no
    probabilities at all; ``context`` is tokens."""

    def __init__(self, prompt: Any, context: int, *, suffix: str, echo: bool, logprobs: int) -> None:
        """Raises ``FieldInvalid`` for words and token ids in one prompt."""
        several = isinstance(prompt, list) and prompt and not isinstance(prompt[0], int)
        for each in prompt if several else [prompt]:
            if isinstance(each, list) and not all(isinstance(token, int) for token in each):
                said = "prompt: token ids and words do not stand in one prompt together with suffix or echo"
                raise FieldInvalid(said, field="prompt")
        self._voice: Voice
        self._context = context
        self._prompts: list[Any] = prompt if several else [prompt]
        self._suffix = suffix
        self._echo = echo
        self._logprobs = logprobs

    @property
    def recited(self) -> bool:
        """Whether they are read token by token."""
        return self._echo and self._logprobs > 0

    async def ready(self, voice: Voice, heard: Callable[[int], None]) -> tuple[list[Any] | None, list[Echoed]]:
        """What ``voice`` is sent in place of the prompts, or None for themselves, and how they are given back, if so.
        ``heard`` is told how many tokens more were read. Raises ``FieldInvalid``, ``ContextExceeded``."""
        self._voice, sent = voice, None
        if self._suffix:
            marks = await self._marks()
            behind = await self._tokens(self._suffix, special=False)
            sent = [await self._around(each, behind, marks) for each in self._prompts]
        echoed: list[Echoed] = []
        if self.recited:
            sent = [await self._tokens(each) for each in self._prompts]
            if max(map(len, sent)) >= self._context:
                longest = max(map(len, sent))
                said = f"the prompt has {longest} tokens, {self._context} fit"
                raise ContextExceeded(said, field="prompt").counted(longest, self._context)
            echoed = [await self._recite(each, heard) for each in sent]
        elif self._echo:
            echoed = [Echoed(each if isinstance(each, str) else await self._text(each)) for each in self._prompts]
        return sent, echoed

    async def _around(self, prompt: Any, behind: list[int], marks: list[int]) -> list[int]:
        before = await self._tokens(prompt, special=False)
        return [*marks[:-2], *before, marks[-2], *behind, marks[-1]]

    async def _marks(self) -> list[int]:
        """The tokens before the prefix, before the suffix and before the answer. Raises ``FieldInvalid``."""
        for names in MARKS:
            found = [await self._tokens(name, begins=False) for name in names]
            if all(len(tokens) == 1 for tokens in found):
                # With what the model wants at the beginning of any text; it is part of the first.
                return [*await self._tokens(names[0]), found[1][0], found[2][0]]
        raise FieldInvalid("suffix: this model does not fill in between two texts; leave it out", field="suffix")

    async def _tokens(self, text: str | list[int], *, special: bool = True, begins: bool = True) -> list[int]:
        """``special``: names of special tokens in the text are those tokens, as in any prompt."""
        if isinstance(text, list):
            return text
        asked = {"content": text, "add_special": begins and special, "parse_special": special}
        return list((await ask(self._voice.socket, "/tokenize", asked))["tokens"])

    async def _text(self, tokens: list[int]) -> str:
        return str((await ask(self._voice.socket, "/detokenize", {"tokens": tokens}))["content"])

    async def _recite(self, tokens: list[int], heard: Callable[[int], None]) -> Echoed:
        first = await self._text(tokens[:1])
        told = _Told(first)
        heard(1)
        at = 1
        while at < len(tokens):
            end = min(at + RECITED_TOKENS, len(tokens))
            found, begin = await self._said(tokens[:at], tokens[at:end]), at
            for token in found.content:
                while at < end and tokens[at] != token.id:  # a piece of a character, of which nothing was told
                    told.add(await self._looked_up(tokens, at))
                    at += 1
                told.add(token)
                at += 1
            if found.whole:
                for piece in range(at, end):
                    told.add(await self._looked_up(tokens, piece))
                at = end
            if not begin < at <= end:
                raise EngineFailed("llama.cpp did not recite the prompt")
            heard(at - begin)
        return Echoed(await self._text(tokens), told.logprobs)

    async def _said(self, before: list[int], said: list[int], alternatives: int = 0) -> _Recited:
        """What the model thinks of each token of ``said`` after ``before``, as far as llama.cpp tells: it ends with a
        token that ends answers, and says nothing of tokens that are pieces of a character, but for the last."""
        asked = {
            **self._voice.members,
            "prompt": before,
            "max_tokens": len(said),
            "logprobs": alternatives or self._logprobs,
            "temperature": 0,
            "grammar": "%llguidance {}\nstart: " + " ".join(f"<[{token}]>" for token in said),
        }
        try:
            (choice,) = msgspec.convert(await ask(self._voice.socket, "/v1/completions", asked), _Said).choices
        except ValueError as error:  # of msgspec, or not one choice
            raise EngineFailed(f"llama.cpp did not recite the prompt: {error}") from None
        return _Recited(choice.logprobs.content if choice.logprobs else [], choice.finish_reason == "length")

    async def _looked_up(self, tokens: list[int], at: int) -> _Token:
        """The same of one token of which nothing is told: it stands among the alternatives to another one."""
        other = (await self._tokens("a", begins=False))[-1]
        for alternatives in (ALTERNATIVES, 2**31 - 1):  # mostly it is among the first
            told = (await self._said(tokens[:at], [other], alternatives)).content
            found = told[0].top_logprobs if told else []
            for each in found:
                if each.id == tokens[at]:
                    piece = "bytes:" + "".join(f"\\x{byte:02x}" for byte in each.bytes)
                    return _Token(each.id, piece, each.logprob, each.bytes, found[: self._logprobs])
        raise EngineFailed("llama.cpp does not know the probability of a token")


class _Told:
    """Log probabilities of a prompt, as ``/v1/completions`` spells them."""

    def __init__(self, first: str) -> None:
        self.logprobs: dict[str, list[Any]] = {
            "tokens": [first],
            "token_logprobs": [None],  # nothing stands before it
            "top_logprobs": [None],
            "text_offset": [0],
        }
        self._offset = len(first)

    def add(self, token: _Token) -> None:
        """The next one."""
        told = self.logprobs
        told["tokens"].append(token.token)
        told["token_logprobs"].append(token.logprob)
        # The token itself stands among the others, as in answers of OpenAI: who reads them looks for it there.
        others = {each.token: each.logprob for each in token.top_logprobs}
        told["top_logprobs"].append({token.token: token.logprob} | others)
        told["text_offset"].append(self._offset)
        self._offset += 0 if token.token.startswith("bytes:\\x") else len(token.token)
