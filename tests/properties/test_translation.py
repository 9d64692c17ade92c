"""What one dialect can say survives the way to an engine and back, however its bytes are cut."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.usage import Usage
from openmaas.dialects.conversation import Conversation, Message
from openmaas.dialects.dialect import Manner, Ticket
from openmaas.dialects.engine.hear import Events, Hearing
from openmaas.dialects.engine.say import body
from openmaas.dialects.members import members_of
from openmaas.dialects.openai.chat import conversation
from openmaas.dialects.openai.chat_answer import ChatVoice
from openmaas.dialects.pieces import Counted, Ended, Piece, Reply, Said, Weighed, gathered
from openmaas.dialects.translated import Translated
from speech import answers, conversations, in_pieces

TICKET = Ticket("req_1", 1_700_000_000_000)


def merged(messages: tuple[Message, ...]) -> list[Message]:
    """Results of one turn may stand in one message or in several."""
    return [Message(each.role, (part,)) for each in messages for part in each.parts]


def heard(stream: bytes, at: list[int]) -> list[Piece]:
    """The pieces of a stream that is cut at ``at``."""
    events, hearing = Events(), Hearing("req_1")
    cuts = [0, *sorted(min(each, len(stream)) for each in at), len(stream)]
    data = [d for begin, end in itertools.pairwise(cuts) for d in events.feed(stream[begin:end])]
    assert data.pop() == b"[DONE]"
    assert not events.finish()
    return [piece for each in data for piece in hearing.hear(each)]


@given(conversations())
def test_a_conversation_that_is_said_to_an_engine_is_the_same_when_it_is_read(asked: Conversation) -> None:
    said = body(asked, "model", asked.output_tokens or 1, Manner())
    read = conversation(members_of(said))
    assert merged(read.messages) == merged(asked.messages)
    for name in set(Conversation.__struct_fields__) - {"messages", "keep_thoughts"}:
        assert getattr(read, name) == getattr(asked, name), name


@given(st.data(), answers(), st.booleans(), st.lists(st.integers(0, 4000), max_size=5))
def test_an_answer_in_chunks_is_the_same_however_they_are_cut(
    data: st.DataObject, answer: tuple[Reply, Usage], whole_calls: bool, at: list[int]
) -> None:
    writer = ChatVoice(usage="extra", whole_calls=whole_calls).writer(TICKET)
    said = b"".join(writer.say(piece) for piece in data.draw(in_pieces(*answer))) + writer.end()
    replies, usage = gathered(heard(said, at))
    assert (replies, usage) == ([answer[0]], answer[1])
    reading = Translated(ChatVoice(usage="extra", whole_calls=whole_calls).writer(TICKET), "req_1")
    again = b"".join(reading.feed(said[i : i + 7]) for i in range(0, len(said), 7)) + reading.finish()
    assert gathered(heard(again, at)) == ([answer[0]], answer[1])
    assert reading.ended
    assert reading.usage == answer[1]


@given(answers())
def test_a_whole_answer_is_the_same_when_it_is_heard(answer: tuple[Reply, Usage]) -> None:
    said = ChatVoice().whole([answer[0]], answer[1], TICKET)
    assert gathered(Hearing("req_1").hear(said)) == ([answer[0]], answer[1])


@given(conversations())
def test_thoughts_before_the_last_question_are_left_out_unless_they_are_to_be_kept(asked: Conversation) -> None:
    last = max(at for at, message in enumerate(asked.messages) if message.role == "user")
    forgetful = Conversation(model="m", messages=asked.messages)
    read = conversation(members_of(body(forgetful, "m", 1, Manner())))
    thinks = [at for at, message in enumerate(read.messages) if "thought" in str(message.parts[:1]).lower()]
    kept = [at for at, message in enumerate(asked.messages) if "Thought(" in str(message.parts[:1]) and at > last]
    assert thinks == kept


@given(answers(), st.lists(st.integers(-9, 0).map(lambda said: msgspec.Raw(b'{"logprob":%d}' % said)), max_size=3))
def test_how_likely_the_words_were_is_told_with_them_whole_and_in_chunks(
    answer: tuple[Reply, Usage], tokens: list[msgspec.Raw]
) -> None:
    reply = msgspec.structs.replace(answer[0], weighed=tokens)
    whole = ChatVoice().whole([reply], answer[1], TICKET)
    assert gathered(Hearing("req_1").hear(whole)) == ([reply], answer[1])
    writer = ChatVoice(usage="extra").writer(TICKET)
    pieces = [Weighed(tokens[:1]), Weighed(tokens[1:]), Said("words"), Ended("stop"), Counted(answer[1])]
    said = b"".join(map(writer.say, pieces)) + writer.end()
    assert gathered(heard(said, [])) == ([Reply(said="words", weighed=tokens)], answer[1])
    events = [event for event in said.split(b"\n\n") if b'"content":"words"' in event]
    assert all((b'{"logprob":' in event) == bool(tokens) for event in events)


def test_log_probabilities_that_are_none_break_no_answer() -> None:
    body = b'{"choices":[{"message":{"content":"hi"},"logprobs":[0.5],"finish_reason":"stop"}]}'
    assert gathered(Hearing("req_1").hear(body))[0] == [Reply(said="hi")]
