"""An answer as an Anthropic message, whole or as a stream of events, made of pieces.

https://docs.anthropic.com/en/api/messages-streaming. Each event has its ``event:`` line: SDKs drop one without. The
count comes with the end: an engine tells it there, so ``message_start`` has zeros and ``message_delta`` the sums.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.errors import EngineFailed
from openmaas.core.usage import Usage
from openmaas.dialects.anthropic.blocks import PURPOSE
from openmaas.dialects.conversation import Call
from openmaas.dialects.dialect import Signet, Ticket
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Piece, Reason, Reply, Said, Thought, Weighed

#: The words for why an answer ended.
REASONS: dict[Reason, str] = {"stop": "end_turn", "length": "max_tokens", "calls": "tool_use", "refused": "refusal"}
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
#: Under which name arguments are given that are no JSON object, as Anthropic's guide to fine-grained streaming has it.
_INVALID = "INVALID_JSON"


class MessageVoice(msgspec.Struct, frozen=True, kw_only=True):
    """How a caller wants to be told. ``thinks``: whether there are thinking blocks, and with their text; ``silent``: of
    what is generated nothing is shown (``max_tokens: 0``)."""

    signet: Signet
    thinks: Literal["no", "shown", "omitted"] = "no"
    silent: bool = False

    def writer(self, ticket: Ticket) -> MessageWriter:
        """Says it in events."""
        return MessageWriter(self, ticket)

    def whole(self, replies: list[Reply], usage: Usage, ticket: Ticket) -> bytes:
        """Says it whole."""
        reply = replies[0]
        content = [] if self.silent else self._content(reply)
        return _encode(self.message(ticket) | {"content": content, **self.ending(reply), "usage": usage_of(usage)})

    def message(self, ticket: Ticket) -> dict[str, Any]:
        """What a message begins with."""
        return {
            "id": ticket.request_id.replace("req_", "msg_"),
            "type": "message",
            "role": "assistant",
            "model": ticket.model,
            "content": [],
            "container": None,
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": usage_of(Usage()),
        }

    def ending(self, end: Reply | Ended) -> dict[str, Any]:
        """Why it ended. A stop sequence is told when the engine told which."""
        if self.silent:
            return {"stop_reason": "max_tokens", "stop_sequence": None}
        stopped = end.stop is not None and end.reason == "stop"
        return {
            "stop_reason": "stop_sequence" if stopped else REASONS[end.reason],
            "stop_sequence": end.stop if stopped else None,
        }

    def signature(self, thought: str) -> str:
        """Of a whole thought: our name under it, or all of it where its text is not shown."""
        seals = self.thinks == "omitted"
        return self.signet.seal(thought, PURPOSE) if seals else self.signet.sign(thought, PURPOSE)

    def _content(self, reply: Reply) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        if reply.thought and self.thinks != "no":
            text = reply.thought if self.thinks == "shown" else ""
            found.append({"type": "thinking", "thinking": text, "signature": self.signature(reply.thought)})
        if reply.said:
            found.append({"type": "text", "text": reply.said, "citations": None})
        return found + [_tool_use(call) for call in reply.calls]


class MessageWriter:
    """Says one answer in events. One block is open at a time; what begins another closes it."""

    def __init__(self, voice: MessageVoice, ticket: Ticket) -> None:
        self._voice = voice
        self._ticket = ticket
        self._begun = False
        self._open = ""  # the kind of the block that is open
        self._index = 0
        self._call = -1  # the one that is being argued
        self._thought: list[str] = []
        self._end = Ended("stop")
        self._usage = Usage()

    def say(self, piece: Piece) -> bytes:
        """See ``Writer``."""
        if isinstance(piece, Counted):
            self._usage = piece.usage
            return b""
        said = self._begin()
        if isinstance(piece, Ended):
            self._end = piece
            return said + self._close()
        if piece.choice or self._voice.silent:
            return said
        match piece:
            case Thought():
                return said + self._think(piece.text)
            case Said():
                said += self._switch("text", {"type": "text", "text": "", "citations": None})
                return said + self._delta({"type": "text_delta", "text": piece.text})
            case Called():
                self._call = piece.index
                return said + self._close() + self._switch("tool_use", _tool_use(Call(piece.id, piece.name, "")))
            case Weighed():
                return said  # nobody can ask for it on this wire
            case Argued():
                if self._open != "tool_use" or piece.index != self._call:
                    raise EngineFailed("it went back to a call that it had ended")
                return said + self._delta({"type": "input_json_delta", "partial_json": piece.text})

    def end(self) -> bytes:
        """Why it ended, what it cost, and the last event."""
        delta = self._voice.ending(self._end) | {"container": None, "stop_details": None}
        said = self._begin() + self._close()
        said += _event({"type": "message_delta", "delta": delta, "usage": usage_of(self._usage)})
        return said + _event({"type": "message_stop"})

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event({"type": "message_start", "message": self._voice.message(self._ticket)})

    def _think(self, text: str) -> bytes:
        if self._voice.thinks == "no":
            return b""
        said = self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._thought.append(text)
        if self._voice.thinks == "omitted":
            return said
        return said + self._delta({"type": "thinking_delta", "thinking": text})

    def _switch(self, kind: str, block: dict[str, Any]) -> bytes:
        """Open a block, unless it is open."""
        if self._open == kind:
            return b""
        said = self._close()
        self._open = kind
        return said + _event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        said = b""
        if self._open == "thinking":
            thought, self._thought = "".join(self._thought), []
            said = self._delta({"type": "signature_delta", "signature": self._voice.signature(thought)})
        said += _event({"type": "content_block_stop", "index": self._index})
        self._open = ""
        self._index += 1
        return said

    def _delta(self, delta: dict[str, str]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._index, "delta": delta})


def usage_of(usage: Usage) -> dict[str, Any]:
    """``usage`` of the Anthropic wire: what came from the cache stands beside ``input_tokens``, not in it. Our engines
    do not say what they added to theirs, and nobody is billed for it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
        "server_tool_use": None,
        "service_tier": "standard",
        "inference_geo": None,
    }


def _tool_use(call: Call) -> dict[str, Any]:
    try:
        arguments: Any = _object.decode(call.arguments or "{}")
    except msgspec.MsgspecError:  # cut off by its cap, or never JSON: said openly, not passed off as a call of nothing
        arguments = {_INVALID: call.arguments}
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments, "caller": {"type": "direct"}}


def _event(told: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (told["type"].encode(), _encode(told))
