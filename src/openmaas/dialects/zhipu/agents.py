"""Zhipu's agents, in values: what a caller asks of one, the chat that is asked for it, and that chat's answer in an
agent's words.

SDKs read ``message`` and ``delta``, the documents show ``messages``: both are there. What a model thought is not told.
https://docs.bigmodel.cn/api-reference/agent-api, https://docs.z.ai/api-reference/agents/agent
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from openmaas.core.errors import EngineFailed, FieldInvalid, FieldMissing
from openmaas.dialects.engine.hear import Events
from openmaas.dialects.members import checked, members_of

Json = dict[str, Any]
_encode = msgspec.json.encode
_DONE = b"[DONE]"
#: What an agent's answer has of the chat's, as it is.
_SAME = ("id", "request_id", "created", "usage")


class _Message(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | Json | list[Json]


class Invoked(msgspec.Struct):
    """What a caller asks of an agent. ``store`` is ours: the conversation is kept, and goes on under the
    ``conversation_id`` that the answer has."""

    agent_id: str
    messages: list[_Message]
    stream: bool | None = None
    custom_variables: Json | None = None
    conversation_id: str | None = None
    request_id: str | int | float | None = None
    user_id: str | None = None
    store: bool | None = None

    @property
    def turns(self) -> list[Json]:
        """The messages as a chat has them: content in one object is a list of one part."""
        return [
            {"role": each.role, "content": [each.content] if isinstance(each.content, dict) else each.content}
            for each in self.messages
        ]

    def chat(self, model: str, system: str, before: list[Json], fixed: Json) -> bytes:
        """The chat to ask: the operator's word, what was said ``before``, and the caller's messages."""
        messages = [{"role": "system", "content": system}, *before, *self.turns]
        asked: Json = {"model": model, "messages": messages, "stream": bool(self.stream), **fixed}
        own = {"request_id": self.request_id, "user_id": self.user_id}
        return _encode(asked | {name: value for name, value in own.items() if value is not None})


class Fetched(msgspec.Struct):
    """What a caller asks about an agent's answer that they fetch, or about a conversation that is kept."""

    agent_id: str = ""
    async_id: str = ""
    conversation_id: str | None = None


_invoked = msgspec.json.Decoder(Invoked, strict=False)
_fetched = msgspec.json.Decoder(Fetched, strict=False)
_object = msgspec.json.Decoder(Json)
_NULL = msgspec.Raw(b"null")


def read_invoked(body: bytes) -> Invoked:
    """A body as what is asked. Raises ``BodyInvalid``, ``FieldMissing``, ``FieldInvalid``."""
    asked = checked(_invoked, _told(body))
    if not asked.messages:
        raise FieldInvalid("messages must have one of the user", field="messages")
    return asked


def read_fetched(body: bytes, name: Literal["async_id", "conversation_id"]) -> Fetched:
    """The same of one that must have ``name``."""
    asked = checked(_fetched, _told(body))
    if not getattr(asked, name):
        raise FieldMissing(f"{name} is needed: the agent's answer has it", field=name)
    return asked


def _told(body: bytes) -> dict[str, msgspec.Raw]:
    return {name: value for name, value in members_of(body).items() if value != _NULL}


def text_of(answer: bytes) -> str:
    """What a chat said, in its first choice. Raises ``EngineFailed``."""
    return _content(_choices(_decoded(answer), "message")[0], "message")


def answered(answer: bytes, agent_id: str, **more: str) -> bytes:
    """A chat's whole answer as the agent's, with what ``more`` there is to say. Raises ``EngineFailed``."""
    return _encode(said(_decoded(answer), agent_id, **more))


def said(told: Json, agent_id: str, **more: str) -> Json:
    """The same, of a chat's object."""
    choices = []
    for choice in _choices(told, "message"):
        message = _message(choice, "message")
        ends = {"index": choice.get("index", 0), "finish_reason": choice.get("finish_reason")}
        choices.append(ends | {"message": message, "messages": [message]})
    head = {name: told[name] for name in _SAME if name in told}
    return head | {"agent_id": agent_id, "status": "success", **more, "choices": choices}


class Telling:
    """A chat's chunks as an agent's. ``text`` is what was said so far, in the first choice; ``whole`` once it has ended
    as it should."""

    def __init__(self, agent_id: str) -> None:
        self.text = ""
        self.whole = False
        self._agent_id = agent_id
        self._events = Events()
        self._last: Json | None = None

    def feed(self, block: bytes) -> bytes:
        """What may be said now. The chunk that ends the answer is for ``end``."""
        return b"".join(_event(chunk) for data in self._events.feed(block) for chunk in self._heard(data))

    def end(self, **more: str) -> bytes:
        """The last chunk, with what ``more`` there is to say, and the end of the stream."""
        last = b"" if self._last is None else _event(self._last | more)
        return last + b"data: %b\n\n" % _DONE

    def _heard(self, data: bytes) -> list[Json]:
        if data == _DONE:
            return []
        told = _decoded(data)
        head = {name: told[name] for name in _SAME if name in told} | {"agent_id": self._agent_id}
        if error := told.get("error"):
            failed = {"status": "failed", "error": {name: error.get(name) for name in ("code", "message")}}
            return [head | failed | {"choices": [self._choice(each) for each in told.get("choices") or []]}]
        choices = [self._choice(each) for each in _choices(told, "delta") if _tells(each)]
        self.text += "".join(each["delta"]["content"]["text"] for each in choices if not each["index"])
        chunk = head | {"choices": choices}
        if told.get("usage"):
            self.whole, self._last = True, chunk | {"status": "success"}
            return []
        return [chunk] if choices else []

    def _choice(self, choice: Json) -> Json:
        message = _message(choice, "delta")
        ends = {"index": choice.get("index", 0), "finish_reason": choice.get("finish_reason")}
        return ends | {"delta": message, "messages": [message]}


def _tells(choice: Json) -> bool:
    """False for what an agent's caller is not told: thoughts, and nothing."""
    return bool(choice.get("finish_reason") or _content(choice, "delta"))


def _message(choice: Json, name: str) -> Json:
    return {"role": "assistant", "content": {"type": "text", "text": _content(choice, name)}}


def _content(choice: Json, name: str) -> str:
    content = (choice.get(name) or {}).get("content")
    return content if isinstance(content, str) else ""


def _choices(told: Json, name: str) -> list[Json]:
    choices = told.get("choices")
    if not isinstance(choices, list) or (name == "message" and not choices):
        raise EngineFailed("its answer has no choices")
    return choices


def _decoded(data: bytes) -> Json:
    try:
        return _object.decode(data)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"its answer was no chat's ({error})") from None


def _event(chunk: Json) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)


# ── conversations that are kept ───────────────────────────────────────────────────────────────────────────────────


def spoken(turns: list[tuple[bytes, bytes]]) -> list[Json]:
    """What was asked and answered in a conversation that is kept, as messages of a chat."""
    messages: list[Json] = []
    for asked, answer in turns:
        messages += [{"role": each["role"], "content": each["content"]} for each in msgspec.json.decode(asked)]
        words = [part["text"] for item in _object.decode(answer)["output"] for part in item.get("content", ())]
        messages.append({"role": "assistant", "content": "".join(words)})
    return messages


def agent_of(answer: bytes) -> str:
    """With which agent a kept answer was; empty when with none."""
    return str((_object.decode(answer).get("metadata") or {}).get("agent_id", ""))
