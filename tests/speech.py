"""Random conversations and answers, as values: what any dialect can say."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import strategies as st

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import (
    Call,
    Conversation,
    Format,
    Media,
    Message,
    Named,
    Result,
    Text,
    Thought,
    Tool,
)
from openmaas.dialects.pieces import Argued, Called, Counted, Ended, Piece, Reply, Said
from openmaas.dialects.pieces import Thought as Thinks

words = st.text(min_size=1, max_size=20)
names = st.text("abcdefgh_", min_size=1, max_size=8)
texts = st.builds(Text, words)
pictures = st.builds(Media, st.just("image"), st.just("data:image/png;base64,iVBORw0="))
arguments = st.dictionaries(names, st.integers() | words).map(lambda value: msgspec.json.encode(value).decode())
calls = st.builds(Call, names, names, arguments)
schemas = st.just(msgspec.Raw(b'{"type":"object"}'))
tools = st.builds(Tool, names, st.just("") | words, schemas)


@st.composite
def turns(draw: st.DrawFn) -> list[Message]:
    """A question, and what it led to: a thought, words, or calls with their results and words after them."""
    asked = draw(st.lists(texts, min_size=1, max_size=1) | st.lists(texts | pictures, min_size=2, max_size=3))
    if all(isinstance(part, Text) for part in asked):
        asked = asked[:1]  # several texts are told as one
    found = [Message("user", tuple(asked))]
    thought = [Thought(draw(words))] if draw(st.booleans()) else []
    called = draw(st.lists(calls, max_size=2, unique_by=lambda call: call.id))
    if called:
        found.append(Message("assistant", (*thought, *called)))
        found += [Message("tool", (Result(call.id, (draw(texts),)),)) for call in called]
    found.append(Message("assistant", (*([] if called else thought), draw(texts))))
    return found


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A whole request, with tools, a format, and sampling."""
    told = draw(st.lists(turns(), min_size=1, max_size=3))
    system = [Message("system", (draw(texts),))] if draw(st.booleans()) else []
    known = draw(st.lists(tools, max_size=2, unique_by=lambda tool: tool.name))
    choice = draw(st.sampled_from([None, "auto", "required", Named(known[0].name)])) if known else None
    return Conversation(
        model="model",
        messages=(*system, *[message for turn in told for message in turn]),
        stream=draw(st.booleans()),
        output_tokens=draw(st.integers(1, 1000)),
        tools=tuple(known),
        tool_choice=choice,
        parallel=draw(st.sampled_from([None, False, True])) if known else None,
        keep_thoughts=True,
        format=draw(st.sampled_from([None, Format(), Format("name", msgspec.Raw(b'{"type":"object"}'), True)])),
        stop=tuple(draw(st.lists(words, max_size=2))),
        temperature=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])),
        top_p=draw(st.none() | st.sampled_from([0.5, 0.9])),
        seed=draw(st.none() | st.integers(0, 9)),
    )


usages = st.builds(
    lambda prompt, said, cached, thought: Usage(prompt + cached, said + thought, cached, thought),
    *[st.integers(0, 100)] * 4,
)


@st.composite
def answers(draw: st.DrawFn) -> tuple[Reply, Usage]:
    """One choice and its count."""
    called = draw(st.lists(calls, max_size=2, unique_by=lambda call: call.id))
    said = draw(words) if not called or draw(st.booleans()) else ""
    reason = "calls" if called else draw(st.sampled_from(["stop", "length", "refused"]))
    return Reply(draw(st.just("") | words), said, called, reason), draw(usages)  # type: ignore[arg-type]


@st.composite
def in_pieces(draw: st.DrawFn, reply: Reply, usage: Usage) -> list[Piece]:
    """The same, cut where it may be cut."""
    found: list[Piece] = [Thinks(part) for part in cut(draw, reply.thought)]
    found += [Said(part) for part in cut(draw, reply.said)]
    for index, call in enumerate(reply.calls):
        found.append(Called(index, call.id, call.name))
        found += [Argued(index, part) for part in cut(draw, call.arguments)]
    return [*found, Ended(reply.reason), Counted(usage)]


def cut(draw: st.DrawFn, text: str) -> list[str]:
    """``text`` in pieces, none of them empty."""
    at = sorted({0, len(text), *draw(st.lists(st.integers(0, len(text)), max_size=3))})
    return [text[begin:end] for begin, end in itertools.pairwise(at) if begin < end]
