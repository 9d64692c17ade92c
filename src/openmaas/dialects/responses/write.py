"""An answer on the Responses wire, whole or as a stream of events, made of pieces.

https://platform.openai.com/docs/api-reference/responses-streaming. One item is open at a time; what begins another
closes it. Each event has its ``event:`` line and its number; codex shows nothing without ``response.output_item.done``
and ``response.completed``. An answer that is to be kept is left in its ``memory`` when it has ended.
"""

from __future__ import annotations

from typing import Any

import msgspec

from openmaas.core.errors import EngineFailed, OpenmaasError
from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Call
from openmaas.dialects.dialect import Ticket
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Piece, Reason, Reply, Said, Thought, Weighed
from openmaas.dialects.responses.errors import failure
from openmaas.dialects.responses.objects import INCOMPLETE, Json, Shape, message, output_text, response_id, usage_of
from openmaas.dialects.responses.tools import custom_input

_encode = msgspec.json.Encoder().encode
#: How the id of an item begins, by its type.
_PREFIXES = {"reasoning": "rs", "message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}


class ResponseVoice(msgspec.Struct, frozen=True):
    """Answers one request in ``shape``."""

    shape: Shape

    def writer(self, ticket: Ticket) -> ResponseWriter:
        """Says it in events."""
        return ResponseWriter(self.shape, ticket)

    def whole(self, replies: list[Reply], usage: Usage, ticket: Ticket) -> bytes:
        """Says it whole."""
        reply, shape = replies[0], self.shape
        kinds = ["reasoning"] * bool(reply.thought) + ["message"] * bool(reply.said or not reply.calls)
        last = len(kinds) + len(reply.calls) - 1
        status = _status(reply.reason)
        output: list[Json] = []
        for kind in kinds:
            of = status if len(output) == last else "completed"
            name = item_id(ticket, kind, len(output))
            build = shape.reasoning if kind == "reasoning" else message
            output.append(build(name, reply.thought if kind == "reasoning" else reply.said, of))
        for call in reply.calls:
            of = status if len(output) == last else "completed"
            kind = "custom_tool_call" if call.name in shape.names.custom else "function_call"
            output.append(shape.call(item_id(ticket, kind, len(output)), call, of))
        more = shape.ending(reply.reason) | {"usage": usage_of(usage)}
        said = _encode(shape.response(ticket, status, output, **more))
        shape.memory.answer_id, shape.memory.answer = response_id(ticket), said
        return said


class ResponseWriter:
    """Says one answer in events."""

    def __init__(self, shape: Shape, ticket: Ticket) -> None:
        self._shape, self._ticket = shape, ticket
        self._number = 0
        self._ended = False
        self._output: list[Json] = []
        self._kind = ""  # of the item that is open
        self._item_id = ""
        self._call = Called(-1, "", "")
        self._told: list[str] = []  # of the open item
        self._reason: Reason = "stop"
        self._usage = Usage()

    def say(self, piece: Piece) -> bytes:
        """See ``Writer``."""
        if isinstance(piece, Counted):
            self._usage = piece.usage
            return b""
        said = self.begin()
        if piece.choice:
            return said
        match piece:
            case Ended():
                self._reason = piece.reason
                return said + self._close(_status(piece.reason))
            case Thought():
                return said + self._open("reasoning") + self._tell(piece.text)
            case Said():
                return said + self._open("message") + self._tell(piece.text)
            case Called():
                said += self._close()
                self._call = piece
                custom = piece.name in self._shape.names.custom
                return said + self._open("custom_tool_call" if custom else "function_call")
            case Weighed():
                return said  # nobody can ask for it on this wire
            case Argued():
                if "call" not in self._kind or piece.index != self._call.index:
                    raise EngineFailed("it went back to a call that it had ended")
                return said + self._tell(piece.text)

    def begin(self) -> bytes:
        """The first two events, once."""
        if self._number:
            return b""
        begun = self._shape.response(self._ticket, "in_progress", [])
        return self._event("response.created", response=begun) + self._event("response.in_progress", response=begun)

    def end(self) -> bytes:
        """The whole object, in the event that says how it ended."""
        self._ended = True
        said = self.begin() + self._close(_status(self._reason))
        if not self._output:  # nothing was said: that is an empty message, not none
            said += self._open("message") + self._close(_status(self._reason))
        more = self._shape.ending(self._reason) | {"usage": usage_of(self._usage)}
        status = _status(self._reason)
        ended = self._shape.response(self._ticket, status, self._output, **more)
        self._shape.memory.answer_id, self._shape.memory.answer = ended["id"], _encode(ended)
        return said + self._event(f"response.{status}", response=ended)

    def broken(self, error: OpenmaasError) -> bytes:
        """The end of an answer that an error broke off: what was open ends incomplete. Empty after an end."""
        if self._ended:
            return b""
        said = self.begin() + self._close("incomplete")
        failed = self._shape.response(self._ticket, "failed", self._output, error=failure(error))
        return said + self._event("response.failed", response=failed)

    def _open(self, kind: str) -> bytes:
        """Open an item, unless it is open."""
        if self._kind == kind and "call" not in kind:
            return b""
        said = self._close()
        self._kind, self._item_id = kind, item_id(self._ticket, kind, len(self._output))
        said += self._event("response.output_item.added", **self._at, item=self._item("in_progress"))
        if kind == "reasoning" and self._shape.asked.summarises:
            part = {"type": "summary_text", "text": ""}
            return said + self._event("response.reasoning_summary_part.added", **self._part, part=part)
        if kind in ("reasoning", "message"):
            return said + self._event("response.content_part.added", **self._part, part=self._content(""))
        return said

    def _tell(self, text: str) -> bytes:
        self._told.append(text)
        if self._kind == "custom_tool_call":  # its text stands inside JSON: it is told when that is whole
            return b""
        name, _, more = self._names()
        return self._event(f"{name}.delta", **more, delta=text)

    def _close(self, status: str = "completed") -> bytes:
        """Close the item that is open, in ``status``."""
        if not self._kind:
            return b""
        text = "".join(self._told)
        name, member, more = self._names()
        said = b""
        if self._kind == "custom_tool_call":
            text = custom_input(text)
            said = self._event(f"{name}.delta", **more, delta=text)
        if self._kind == "function_call":
            more["name"] = self._item(status)["name"]
        said += self._event(f"{name}.done", **more, **{member: text})
        if self._kind == "reasoning" and self._shape.asked.summarises:
            part = {"type": "summary_text", "text": text}
            said += self._event("response.reasoning_summary_part.done", **self._part, part=part)
        elif self._kind in ("reasoning", "message"):
            said += self._event("response.content_part.done", **self._part, part=self._content(text))
        item = self._item(status)
        said += self._event("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._kind, self._told = "", []
        return said

    def _names(self) -> tuple[str, str, Json]:
        """How the events of the open item are called, the member that has all of it in the last one, and where."""
        match self._kind:
            case "reasoning":
                kind = "reasoning_summary_text" if self._shape.asked.summarises else "reasoning_text"
                return f"response.{kind}", "text", self._part
            case "message":
                return "response.output_text", "text", self._part | {"logprobs": []}
            case "custom_tool_call":
                return "response.custom_tool_call_input", "input", self._place
        return "response.function_call_arguments", "arguments", self._place

    def _item(self, status: str) -> Json:
        text = "".join(self._told)
        if self._kind == "reasoning":
            return self._shape.reasoning(self._item_id, text, status)
        if self._kind == "message":
            return message(self._item_id, text, status)
        return self._shape.call(self._item_id, Call(self._call.id, self._call.name, text), status)

    def _content(self, text: str) -> Json:
        return {"type": "reasoning_text", "text": text} if self._kind == "reasoning" else output_text(text)

    @property
    def _at(self) -> Json:
        return {"output_index": len(self._output)}

    @property
    def _place(self) -> Json:
        return {"item_id": self._item_id, **self._at}

    @property
    def _part(self) -> Json:
        summary = self._kind == "reasoning" and self._shape.asked.summarises
        return self._place | {"summary_index" if summary else "content_index": 0}

    def _event(self, kind: str, **members: Any) -> bytes:
        told = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(told))


def _status(reason: Reason) -> str:
    return "incomplete" if reason in INCOMPLETE else "completed"


def item_id(ticket: Ticket, kind: str, at: int) -> str:
    """What the ``at``-th item of an answer is called."""
    return f"{_PREFIXES[kind]}_{ticket.request_id.removeprefix('req_')}_{at}"
