"""An answer as chat completions, whole or in chunks, made of pieces. Zhipu's dialect says it the same way but for the
usage and for calls. https://platform.openai.com/docs/api-reference/chat/object
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Json
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Piece, Reason, Reply, Said, Thought, Weighed

#: The words for why an answer ended, in this order of ``Reason``.
REASONS: dict[Reason, str] = {"stop": "stop", "length": "length", "calls": "tool_calls", "refused": "content_filter"}
_encode = msgspec.json.Encoder().encode


class ChatVoice(msgspec.Struct, frozen=True, kw_only=True):
    """How a caller wants to be told. ``usage``: not at all, in an ``extra`` chunk without choices, or in the ``last``
    chunk with one; ``whole_calls``: a call comes in one chunk, which is the only shape that every client reads;
    ``thinks``: thoughts are shown, if there are any."""

    usage: Literal["none", "extra", "last"] = "none"
    whole_calls: bool = False
    thinks: bool = True
    reasons: dict[Reason, str] = msgspec.field(default_factory=lambda: REASONS)
    full: str = "length"  # the word for a context that ended

    def writer(self, ticket: Ticket) -> ChatWriter:
        """Says it in chunks."""
        return ChatWriter(self, ticket)

    def whole(self, replies: list[Reply], usage: Usage, ticket: Ticket) -> bytes:
        """Says it whole."""
        choices = [
            {
                "index": at,
                "message": _message(reply, thinks=self.thinks),
                "logprobs": _logprobs(reply.weighed),
                "finish_reason": self.full if reply.full else self.reasons[reply.reason],
            }
            for at, reply in enumerate(replies)
        ]
        return _encode(self.head("chat.completion", ticket) | {"choices": choices, "usage": usage_of(usage)})

    def head(self, kind: str, ticket: Ticket) -> dict[str, Any]:
        """What every object of this answer begins with."""
        return {
            "id": ticket.request_id.replace("req_", "chatcmpl-"),
            "object": kind,
            "created": ticket.opened_ms // 1000,
            "model": ticket.model,
        }


class ChatWriter:
    """Says one answer in chunks."""

    def __init__(self, voice: ChatVoice, ticket: Ticket) -> None:
        self._voice = voice
        self._head = voice.head("chat.completion.chunk", ticket)
        self._begun: set[int] = set()
        self._calls: dict[tuple[int, int], tuple[Called, list[str]]] = {}  # held back until they are whole
        self._weighed: dict[int, list[Json]] = {}  # of words that come next
        self._ends: list[tuple[int, str]] = []
        self._usage: Usage | None = None

    def say(self, piece: Piece) -> bytes:
        """See ``Writer``."""
        match piece:
            case Said():
                return self._delta(piece.choice, {"content": piece.text})
            case Thought():
                if not self._voice.thinks:
                    return b""
                return self._delta(piece.choice, {"reasoning_content": piece.text})
            case Called() | Argued():
                return self._call(piece)
            case Weighed():
                self._weighed.setdefault(piece.choice, []).extend(piece.tokens)
                return b""
            case Ended():
                said = self._held(piece.choice)
                word = self._voice.full if piece.full else self._voice.reasons[piece.reason]
                self._ends.append((piece.choice, word))
                return said
            case Counted():
                self._usage = piece.usage
                return b""

    def end(self) -> bytes:
        """The last chunks, the usage where it was asked for, and ``[DONE]``."""
        said = []
        for number, (choice, reason) in enumerate(self._ends):
            last = self._voice.usage == "last" and number == len(self._ends) - 1
            more = {"usage": usage_of(self._usage)} if last and self._usage is not None else {}
            said.append(self._delta(choice, {}, reason, more))
        if self._voice.usage == "extra":
            said.append(self._event({"choices": [], "usage": usage_of(self._usage or Usage())}))
        return b"".join(said) + b"data: [DONE]\n\n"

    def _call(self, piece: Called | Argued) -> bytes:
        place = piece.choice, piece.index
        if self._voice.whole_calls:
            if isinstance(piece, Called):
                self._calls[place] = piece, []
            else:
                self._calls[place][1].append(piece.text)
            return b""
        if isinstance(piece, Called):
            return self._delta(piece.choice, {"tool_calls": [_call(piece.index, piece.id, piece.name, "")]})
        argued = {"index": piece.index, "function": {"arguments": piece.text}}
        return self._delta(piece.choice, {"tool_calls": [argued]})

    def _held(self, choice: int) -> bytes:
        """The calls of a choice, each in one chunk."""
        said = []
        for place in sorted(place for place in self._calls if place[0] == choice):
            called, argued = self._calls.pop(place)
            said.append(
                self._delta(choice, {"tool_calls": [_call(called.index, called.id, called.name, "".join(argued))]})
            )
        return b"".join(said)

    def _delta(
        self, choice: int, delta: dict[str, Any], reason: str | None = None, more: dict[str, Any] | None = None
    ) -> bytes:
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant", "content": None if "tool_calls" in delta else ""} | delta
        logprobs = _logprobs(self._weighed.pop(choice, []))
        told = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._event({"choices": [told]} | (more or {}))

    def _event(self, members: dict[str, Any]) -> bytes:
        return b"data: %b\n\n" % _encode(self._head | members)


def usage_of(usage: Usage) -> dict[str, Any]:
    """``usage`` of the OpenAI wire: cached tokens are part of the prompt's, thoughts of the completion's."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _logprobs(weighed: list[Json]) -> dict[str, Any] | None:
    return {"content": weighed, "refusal": None} if weighed else None


def _message(reply: Reply, *, thinks: bool) -> dict[str, Any]:
    told: dict[str, Any] = {
        "role": "assistant",
        "content": None if reply.calls and not reply.said else reply.said,
        "refusal": None,
    }
    if reply.thought and thinks:
        told["reasoning_content"] = reply.thought
    if reply.calls:
        told["tool_calls"] = [
            _call(at, call.id, call.name, call.arguments or "{}") for at, call in enumerate(reply.calls)
        ]
    return told


def _call(index: int, call_id: str, name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}
