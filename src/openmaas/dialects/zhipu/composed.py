"""Chats that are made of several requests: something is found first, and then stands in the question, or question and
answer are looked at (``sensitive``).

Pure: what a body asks to be found, what is said to a search, and how that which was found is written into the
conversation and beside the answer. The rest of a conversation stays as it is, so that its prefix stays cached. Who
asks, and for whom, is not known here. https://docs.bigmodel.cn/cn/guide/tools/web-search
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from openmaas.core.bounds import FOUND_LENGTH_MAX, SEARCHED_LENGTH_MAX
from openmaas.core.errors import EngineFailed, FieldInvalid, FieldMissing
from openmaas.dialects.conversation import Json
from openmaas.dialects.engine.hear import Events
from openmaas.dialects.members import checked, members_of
from openmaas.dialects.zhipu.sensitive import FIELD, wants_check, words_in

_NULL, _USER, _AUTO = msgspec.Raw(b"null"), msgspec.Raw(b'"user"'), msgspec.Raw(b'"auto"')
_encode = msgspec.json.encode
#: Tools that Zhipu runs itself and this server does not.
_NOT_OFFERED = ("mcp",)
#: How what was found stands before the question, unless the caller says otherwise.
SEARCH_PROMPT = """以下是来自互联网的信息:

{search_result}

请根据以上信息,用提问所用的语言回答下面的问题,并用 [ref_序号] 标明所引用的来源;信息不足时请直接说明。

{question}"""
RETRIEVAL_PROMPT = """以下是知识库中的内容:

{{knowledge}}

请根据以上内容,用提问所用的语言回答下面的问题;其中没有答案时,请先说明,再以自身知识回答。

{{question}}"""
_PLACE = re.compile(r"\{\{(search_result|knowledge|question)\}\}|\{(search_result|knowledge|question)\}")
_NOTHING = "(没有找到相关信息)"
#: Members of the tool that are the search's own.
_PASSED_ON = ("count", "search_domain_filter", "search_recency_filter", "content_size", "search_intent")


class Search(msgspec.Struct, frozen=True):
    """What is to be searched for. Zhipu's own examples send flags and numbers as texts."""

    enable: bool | None = None
    search_engine: str | None = None
    search_query: str | None = None
    search_prompt: str | None = None
    search_result: bool | None = None
    result_sequence: Literal["before", "after"] | None = None
    count: int | None = None
    search_domain_filter: str | None = None
    search_recency_filter: str | None = None
    content_size: str | None = None
    search_intent: bool | None = None

    @property
    def shown(self) -> bool:
        """True when the caller is told what was found."""
        return self.search_result is not False

    def body(self, question: str, user_id: Json | None) -> bytes:
        """The request for the search."""
        query = self.search_query or question[:SEARCHED_LENGTH_MAX]
        asked: dict[str, Any] = {"search_engine": self.search_engine or "search_std", "search_query": query}
        asked |= {name: value for name in _PASSED_ON if (value := getattr(self, name)) is not None}
        return _encode(asked if user_id is None else asked | {"user_id": user_id})


class Retrieval(msgspec.Struct, frozen=True):
    """A knowledge base in which the question is looked up."""

    knowledge_id: str
    prompt_template: str | None = None


class Tools(msgspec.Struct, frozen=True):
    """A request's tools: those that go to the model, as they came, and what is to be found before it is asked."""

    functions: list[Json] = []
    search: Search | None = None
    retrieval: Retrieval | None = None

    @property
    def finds(self) -> bool:
        """True when something is to be found."""
        return self.search is not None or self.retrieval is not None


class _Tool(msgspec.Struct):
    type: str = "function"
    web_search: Search | None = None
    retrieval: Retrieval | None = None


class _Tools(msgspec.Struct):
    tools: list[_Tool]


class _Hit(msgspec.Struct):
    title: str | None = None
    link: str | None = None
    content: str | None = None
    media: str | None = None
    publish_date: str | None = None
    refer: str | None = None


class _Hits(msgspec.Struct):
    search_result: Json = _NULL


_tools = msgspec.json.Decoder(_Tools, strict=False)
_raws = msgspec.json.Decoder(list[Json])
_hits = msgspec.json.Decoder(_Hits)
_results = msgspec.json.Decoder(list[_Hit] | None)
_messages = msgspec.json.Decoder(list[dict[str, Json]])
_content = msgspec.json.Decoder(str | list[dict[str, Any]] | None)


def sorted_tools(raw: Json) -> Tools:
    """The tools of a request. Raises ``FieldInvalid`` for one that would not do what its caller expects."""
    functions: list[Json] = []
    found: dict[str, Search | Retrieval] = {}
    for at, (tool, as_it_came) in enumerate(zip(checked(_tools, {"tools": raw}).tools, _raws.decode(raw), strict=True)):
        if tool.type == "function":
            functions.append(as_it_came)
        elif tool.type in found:
            raise FieldInvalid(f"{tool.type} may stand among the tools once", field=f"tools[{at}]")
        elif tool.type == "web_search":
            found[tool.type] = tool.web_search or Search()
        elif tool.type != "retrieval":
            said = "is not offered on this installation" if tool.type in _NOT_OFFERED else "is not a type of tool"
            raise FieldInvalid(
                f"{tool.type!r} {said}; function, web_search and retrieval are", field=f"tools[{at}].type"
            )
        elif tool.retrieval is None or not tool.retrieval.knowledge_id:
            field = f"tools[{at}].retrieval.knowledge_id"
            raise FieldMissing(f"{field} is needed: a knowledge base of yours", field=field)
        else:
            found[tool.type] = tool.retrieval
    search, retrieval = found.get("web_search"), found.get("retrieval")
    assert search is None or isinstance(search, Search)
    assert retrieval is None or isinstance(retrieval, Retrieval)
    return Tools(functions, None if search is None or search.enable is False else search, retrieval)


def leave_functions(members: dict[str, Json], tools: Tools) -> None:
    """Put into ``members`` what of ``tools`` goes to the model; that it may choose among none is not said."""
    if tools.functions:
        members["tools"] = msgspec.Raw(_encode(tools.functions))
    elif members.get("tool_choice") == _AUTO:
        del members["tool_choice"]


class Composed:
    """One chat that something is found for, or that is ``checked``. ``question`` is what its user said last; ``stream``
    is not known here: the answer tells."""

    def __init__(self, body: bytes) -> None:
        """Raises ``BodyInvalid``, and ``FieldInvalid`` for a conversation without a question, if something is to be
        found for it."""
        members = {name: value for name, value in members_of(body).items() if value != _NULL}
        self.checked = wants_check(members)
        members.pop(FIELD, None)
        tools = sorted_tools(members.pop("tools", msgspec.Raw(b"[]")))
        leave_functions(members, tools)
        self.search, self.retrieval = tools.search, tools.retrieval
        self.user_id = members.get("user_id")
        self._members = members
        self._messages: list[dict[str, Json]] = []
        self._at = -1  # of the question
        self._asked: str | list[dict[str, Any]] | None = None
        try:
            self._messages = _messages.decode(members.get("messages", msgspec.Raw(b"[]")))
            self._at = max((at for at, each in enumerate(self._messages) if each.get("role") == _USER), default=-1)
            if self._at >= 0:
                self._asked = _content.decode(self._messages[self._at].get("content", _NULL))
        except msgspec.MsgspecError:
            raise FieldInvalid("messages must be a list of messages, with text or parts", field="messages") from None
        self.question = _text(self._asked)
        if tools.finds and not self.question.strip():
            raise FieldInvalid("messages must have a question of the user's, in text", field="messages")

    @property
    def said(self) -> dict[str, str]:
        """What is looked at before the model is asked, by whose words it is: the last of the user's, and what is before
        and behind them, calls and their results included."""
        others = [value for at, each in enumerate(self._messages) if at != self._at for value in each.values()]
        others += [self._members[name] for name in ("meta", "extra") if name in self._members]
        history = "\n".join(word for raw in others for word in words_in(msgspec.json.decode(raw)))
        texts = {"user": self.question, "history": history}
        return {role: text for role, text in texts.items() if text.strip()}

    def body(self, *findings: tuple[str, dict[str, str]]) -> bytes:
        """The chat, with what was found and the question in the places of a template, and so on with the next; what has
        no place in its template follows it."""
        if not findings:
            return _encode(self._members)
        text = self.question
        for template, found in findings:
            text = filled(template, found | {"question": text})
        content: Any = text
        if isinstance(self._asked, list):  # pictures stay
            content = [{"type": "text", "text": text}, *(part for part in self._asked if part.get("type") != "text")]
        messages: list[Any] = list(self._messages)
        messages[self._at] = messages[self._at] | {"content": content}
        return _encode(self._members | {"messages": messages})


def _text(content: str | list[dict[str, Any]] | None) -> str:
    parts = [{"text": content}] if isinstance(content, str) else content or []
    return "\n".join(text for part in parts if isinstance(text := part.get("text"), str))


def filled(template: str, values: dict[str, str]) -> str:
    """``template`` with each value in its place, ``{name}`` or ``{{name}}``; those without one follow at its end."""
    placed: set[str] = set()

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        placed.add(name)
        return values.get(name, match[0])

    text = _PLACE.sub(value, template)
    return "\n\n".join([text, *(values[name] for name in values if name not in placed)])


def results_of(body: bytes) -> Json:
    """The list of results in a search's answer. Raises ``EngineFailed`` for what is none."""
    try:
        raw = _hits.decode(body).search_result
        _results.decode(raw)
    except msgspec.MsgspecError as error:
        raise EngineFailed(f"the search did not answer as one ({error})") from None
    return msgspec.Raw(b"[]") if raw == _NULL else raw


def shown_to_model(results: Json) -> str:
    """Results as text, as many of them as ``FOUND_LENGTH_MAX`` holds."""
    said = []
    for at, hit in enumerate(_results.decode(results) or [], 1):
        source = " · ".join(filter(None, (hit.link, hit.media, hit.publish_date)))
        said.append("\n".join(filter(None, (f"[{hit.refer or f'ref_{at}'}] {hit.title or ''}", source, hit.content))))
    return _fitting(said)


def known_to_model(chunks: Iterable[tuple[str, str]]) -> str:
    """Chunks of documents, each with its document's name, as text in the same bounds."""
    return _fitting([f"[{at}] {name}\n{text}" for at, (name, text) in enumerate(chunks, 1)])


def _fitting(said: list[str]) -> str:
    length = 0
    for at, each in enumerate(said):
        length += len(each)
        if length > FOUND_LENGTH_MAX:
            said = said[:at]
            break
    return "\n\n".join(said) or _NOTHING


def beside(answer: bytes, results: Json) -> bytes:
    """A whole answer, or a chunk of one, with what was found beside it."""
    return b'%b,"web_search":%b}' % (answer.removesuffix(b"}"), bytes(results))


class Telling:
    """A streamed answer with what was found in its first or last chunk, which is the one with the usage: a quote in a
    text is always escaped, so no text looks like that member."""

    def __init__(self, results: Json, *, first: bool) -> None:
        self._results = results
        self._mark = b"{" if first else b'"usage":{'
        self._told = False
        self._events = Events()

    def feed(self, block: bytes) -> bytes:
        """The next bytes."""
        return b"".join(self._say(data) for data in self._events.feed(block))

    def _say(self, data: bytes) -> bytes:
        if not self._told and self._mark in data:
            self._told = True
            data = beside(data, self._results)
        return b"data: %b\n\n" % data
