"""Reads an OpenAI request without taking it apart.

The body is cut into its top-level members; each value stays the caller's own bytes. To forward it, a few members are
replaced and all put together again, values as they are: a prompt is copied once and never serialised. Cutting
also settles a name that stands twice: the last one counts, for us and for the engine alike.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec

from openmaas.core.bounds import CHOICES_MAX, MEDIA_TOKENS, TEMPLATE_TOKENS, TEXT_BYTES_MAX
from openmaas.core.errors import BodyInvalid, FieldInvalid, FieldMissing
from openmaas.core.usage import Units
from openmaas.dialects.asked import Asked
from openmaas.dialects.dialect import MAX_COMPLETION_TOKENS, MAX_TOKENS, SPECIAL, Manner, Reading, Ticket
from openmaas.dialects.engine.heed import heeds
from openmaas.dialects.openai.answer import Stream, renamed, renamer
from openmaas.dialects.openai.chat import NOT_FORWARDED, check_format, conversation
from openmaas.dialects.openai.chat_answer import ChatVoice
from openmaas.dialects.openai.media import media

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool | None)
_encoding = msgspec.json.Decoder(Literal["float", "base64"] | None)
_number = msgspec.json.Decoder(int | None)
_prompts = msgspec.json.Decoder(list[str | int | list[int]])
_encode = msgspec.json.Encoder().encode
#: The kinds of request that generate; the others have one answer, which is no stream.
_GENERATING = ("chat", "completions")
#: A member that is there and asks for nothing.
_NOTHING = (b"false", b"null", b"{}", b'""')
#: The members in which a prompt stands, in its order.
_OPENING = ("tools", "messages", "prompt", "input")
_FORCED_USAGE = msgspec.Raw(b'{"include_usage":true}')


class StreamOptions(msgspec.Struct):
    """``stream_options`` of the OpenAI wire."""

    include_usage: bool | None = None


_options = msgspec.json.Decoder(StreamOptions | None)


@lru_cache
def _quoted(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


class Ask:
    """What a request asks for, as far as metering and routing must know."""

    memory = None  # answers of this wire are not kept
    units: Units = ()
    __slots__ = (
        "_asked",
        "choices",
        "include_usage",
        "kind",
        "members",
        "model",
        "output_tokens",
        "size_bytes",
        "stream",
    )

    def __init__(self, kind: str, body: bytes | bytearray) -> None:
        try:
            members = _members.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BodyInvalid(str(error)) from None
        except RecursionError:
            raise BodyInvalid("it is nested too deep") from None
        self._asked: Asked | None = None  # when bytes cannot pass
        self.kind = kind
        self.members = members
        self.size_bytes = len(body)
        self.model: str = _take(members, "model", _text, "")
        if not self.model or len(self.model) > TEXT_BYTES_MAX:
            kind_of = FieldInvalid if "model" in members else FieldMissing
            raise kind_of("model is required and names one of GET /v1/models", field="model")
        if kind == "chat" and "response_format" in members:
            check_format(members["response_format"])
        if kind == "embeddings" and "encoding_format" in members:
            _take(members, "encoding_format", _encoding, None)
        generates = kind in _GENERATING
        self.stream = "stream" in members and generates and bool(_take(members, "stream", _flag, None))
        self.include_usage = "stream_options" in members and _include_usage(members)
        self.choices = _choices(kind, members) if generates else 1
        self.output_tokens = _output_tokens(kind, members) if generates else None

    def prompt_tokens_max(self, context_tokens: int) -> int:
        """No token is shorter than one byte of the body, but for what the chat template adds and what a picture, a
        sound or a file is worth."""
        most, whole = self.size_bytes + TEMPLATE_TOKENS * self.choices, context_tokens * self.choices
        if self.kind not in _GENERATING:
            return most
        if most < whole and "messages" in self.members:
            found = media(self.members["messages"])
            most = whole if found is None else most + found * MEDIA_TOKENS
        return min(whole, most)

    def output_tokens_max(self, default: int, context_tokens: int) -> int:
        """Per choice: what was asked or ``default``, never more than the context; 0 for what generates nothing."""
        if self.kind not in _GENERATING:
            return 0
        return min(default if self.output_tokens is None else self.output_tokens, context_tokens)

    @property
    def needs(self) -> frozenset[str]:
        """Those of ``SPECIAL`` that it has, and does not say no to."""
        found = SPECIAL & self.members.keys()
        if not found:
            return found
        asked = {name: bytes(self.members[name]) for name in found}
        if self.kind == "chat":
            asked.pop("logprobs", None)  # of the tokens of the answer alone, which all engines have
        return frozenset(name for name, value in asked.items() if value not in _NOTHING)

    def opening(self) -> bytes:
        """The caller's own bytes: tools, as templates put them first, and what is said or embedded."""
        return b"".join([bytes(self.members[name]) for name in _OPENING if name in self.members])

    def forward(self, served_name: str, output_tokens: int, manner: Manner) -> bytes:
        """The body for the engine: its own model name, usage always on, and the cap by the engine's names for it,
        whatever name the caller gave it: an engine that does not know the name would generate more than was set
        aside."""
        members = self.members
        if "tools" in members and (manner.calls or not manner.forces):
            self._asked = self._by_values(manner)
            if self._asked is not None:
                return self._asked.forward(served_name, output_tokens, manner)
        if not NOT_FORWARDED.isdisjoint(members):
            for name in NOT_FORWARDED:
                members.pop(name, None)
        members["model"] = _quoted(served_name)
        if self.stream:
            members["stream_options"] = _FORCED_USAGE
        if self.kind in _GENERATING:
            members.pop(MAX_COMPLETION_TOKENS, None)
            members.pop(MAX_TOKENS, None)
            for name in manner.caps if self.kind == "chat" else (MAX_TOKENS,):
                members[name] = msgspec.Raw(b"%d" % output_tokens)
        return _encode(members)

    def reading(self, served_name: str, ticket: Ticket) -> Reading:
        """A streamed answer passes as it is, but for the model's name and a usage that was not asked for."""
        if self._asked is not None:
            return self._asked.reading(served_name, ticket)
        rename = renamer(served_name, self.model) if served_name != self.model else None
        return Stream(hide_usage=not self.include_usage, rename=rename)

    def whole(self, body: bytes, served_name: str, ticket: Ticket) -> bytes:
        """A whole answer passes as it is, but for the model's name."""
        if self._asked is not None:
            return self._asked.whole(body, served_name, ticket)
        return body if served_name == self.model else renamed(body, renamer(served_name, self.model))

    def _by_values(self, manner: Manner) -> Asked | None:
        """The same question by way of values, when the engine needs help with its calls."""
        asked = conversation(self.members)
        if heeds(asked, manner):
            return None
        voice = ChatVoice(usage="extra" if self.include_usage else "none")
        return Asked(asked, self.size_bytes, voice)


def _take(members: dict[str, msgspec.Raw], name: str, decoder: msgspec.json.Decoder[Any], default: Any) -> Any:
    raw = members.get(name)
    if raw is None:
        return default
    try:
        return decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise FieldInvalid(f"{name}: {error}", field=name) from None


def _number_of(members: dict[str, msgspec.Raw], name: str) -> int | None:
    number: int | None = _take(members, name, _number, None)
    return number


def _include_usage(members: dict[str, msgspec.Raw]) -> bool:
    options: StreamOptions | None = _take(members, "stream_options", _options, None)
    return bool(options and options.include_usage)


def _least_one(members: dict[str, msgspec.Raw], name: str) -> int:
    number = _number_of(members, name) if name in members else None
    if number is not None and number < 1:
        raise FieldInvalid(f"{name} must be at least 1", field=name)
    return number or 1


def _choices(kind: str, members: dict[str, msgspec.Raw]) -> int:
    count = _least_one(members, "n")
    if kind == "completions":
        count = max(count, _least_one(members, "best_of"))
        prompt = members.get("prompt")
        if prompt is not None and memoryview(prompt)[0] == ord("["):
            items = _take(members, "prompt", _prompts, [])
            if not items:
                raise FieldInvalid("prompt must have a text, or a token, at least", field="prompt")
            if not isinstance(items[0], int):
                count *= len(items)
    if not 1 <= count <= CHOICES_MAX:
        raise FieldInvalid(f"n, times the number of prompts, must be between 1 and {CHOICES_MAX}", field="n")
    return count


def _output_tokens(kind: str, members: dict[str, msgspec.Raw]) -> int | None:
    """The cap as it was asked for. A completion that gives its prompt back may generate nothing: it is scored so."""
    least = 0 if kind == "completions" and _take(members, "echo", _flag, None) else 1
    for name in (MAX_COMPLETION_TOKENS, MAX_TOKENS):
        asked = _number_of(members, name) if name in members else None
        if asked is not None:
            if asked < least:
                raise FieldInvalid(f"{name} must be at least {least}", field=name)
            return asked
    return None
