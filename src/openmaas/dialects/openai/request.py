"""Reads an OpenAI request without taking it apart.

The body is cut into its top-level members; each value stays the caller's own bytes. To forward it, a few members are
replaced and the pieces written one after the other: nothing is serialised again, a prompt is never copied. Cutting
also settles a name that stands twice: the last one counts, for us and for the engine alike.
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.bounds import CHOICES_MAX, TEMPLATE_TOKENS, TEXT_BYTES_MAX
from openmaas.core.errors import BodyInvalid, FieldInvalid

PATHS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
}
#: Members of single engines that would lift the cap on what is generated.
_NOT_FORWARDED = ("n_predict", "max_new_tokens", "return_progress", "timings_per_token")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FORCED_USAGE = msgspec.Raw(b'{"include_usage":true}')
_key = msgspec.json.Encoder().encode


class StreamOptions(msgspec.Struct):
    """``stream_options`` of the OpenAI wire."""

    include_usage: bool | None = None


class Ask:
    """What a request asks for, as far as metering and routing must know."""

    __slots__ = ("choices", "include_usage", "kind", "members", "model", "output_tokens", "size_bytes", "stream")

    def __init__(self, kind: str, body: bytes) -> None:
        try:
            members = _members.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BodyInvalid(str(error)) from None
        self.kind = kind
        self.members = members
        self.size_bytes = len(body)
        self.model: str = _take(members, "model", str, "")
        if not self.model or len(self.model) > TEXT_BYTES_MAX:
            raise FieldInvalid("model is required and names one of GET /v1/models", field="model")
        self.stream: bool = kind != "embeddings" and bool(_take(members, "stream", bool | None, None))
        options: StreamOptions | None = _take(members, "stream_options", StreamOptions | None, None)
        self.include_usage = bool(options and options.include_usage)
        self.choices = 1 if kind == "embeddings" else _choices(kind, members)
        self.output_tokens = None if kind == "embeddings" else _output_tokens(members)

    def prompt_tokens_max(self, context_tokens: int) -> int:
        """No token is shorter than one byte of the body, but for what the chat template adds."""
        most = self.size_bytes + TEMPLATE_TOKENS * self.choices
        return most if self.kind == "embeddings" else min(context_tokens * self.choices, most)

    def output_tokens_max(self, default: int, context_tokens: int) -> int:
        """Per choice: what was asked or ``default``, never more than the context; an embedding generates nothing."""
        return 0 if self.kind == "embeddings" else min(self.output_tokens or default, context_tokens)

    def forward(self, served_name: str, output_tokens: int) -> list[bytes | msgspec.Raw]:
        """The body for the engine, in pieces: its own model name, the cap, and usage always on."""
        members = self.members
        for name in _NOT_FORWARDED:
            members.pop(name, None)
        members["model"] = msgspec.Raw(_key(served_name))
        if self.stream:
            members["stream_options"] = _FORCED_USAGE
        if self.kind != "embeddings":
            members.pop("max_tokens", None)
            cap = "max_completion_tokens" if "max_completion_tokens" in members else "max_tokens"
            members[cap] = msgspec.Raw(b"%d" % output_tokens)
        pieces: list[bytes | msgspec.Raw] = []
        before = b"{"
        for name, value in members.items():
            pieces.append(before + _key(name) + b":")
            pieces.append(value)
            before = b","
        pieces.append(b"}")
        return pieces


def _take(members: dict[str, msgspec.Raw], name: str, kind: Any, default: Any) -> Any:
    raw = members.get(name)
    if raw is None:
        return default
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise FieldInvalid(f"{name}: {error}", field=name) from None


def _choices(kind: str, members: dict[str, msgspec.Raw]) -> int:
    count: int = _take(members, "n", int | None, None) or 1
    if kind == "completions":
        count = max(count, _take(members, "best_of", int | None, None) or 1)
        prompt = members.get("prompt")
        if prompt is not None and memoryview(prompt)[0] == ord("["):
            items = _take(members, "prompt", list[str | int | list[int]], [])
            if items and not isinstance(items[0], int):
                count *= len(items)
    if not 1 <= count <= CHOICES_MAX:
        raise FieldInvalid(f"n, times the number of prompts, must be between 1 and {CHOICES_MAX}", field="n")
    return count


def _output_tokens(members: dict[str, msgspec.Raw]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        asked: int | None = _take(members, name, int | None, None)
        if asked is not None:
            if asked < 1:
                raise FieldInvalid(f"{name} must be at least 1", field=name)
            return asked
    return None
