"""What pictures, sounds and files may cost is set aside, however their names are written."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openmaas.core.bounds import MEDIA_TOKENS, TEMPLATE_TOKENS
from openmaas.dialects.openai.request import Ask

CONTEXT = 1_000_000
TEXTS = st.text(max_size=20)
MEDIA = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]
)
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, TEXTS) | MEDIA, max_size=4)
MESSAGES = st.lists(st.builds(lambda content: {"role": "user", "content": content}, TEXTS | PARTS), max_size=4)


def escaped(text: str) -> str:
    """JSON in which every letter of its strings is an escape, as no client writes it and every engine reads it."""
    return "".join(f"\\u{ord(letter):04x}" if letter.isalpha() and letter.isascii() else letter for letter in text)


def most(messages: str) -> tuple[int, int]:
    """The allowance, and the part of it that bytes and template explain."""
    body = f'{{"model":"m","messages":{messages}}}'.encode()
    return Ask("chat", body).prompt_tokens_max(CONTEXT), len(body) + TEMPLATE_TOKENS


@given(messages=MESSAGES, ascii_only=st.booleans())
def test_each_picture_has_its_allowance_and_text_has_none(messages: list[dict[str, Any]], ascii_only: bool) -> None:
    parts = [part for each in messages if isinstance(each["content"], list) for part in each["content"]]
    allowed, plain = most(json.dumps(messages, ensure_ascii=ascii_only))
    assert allowed == plain + MEDIA_TOKENS * sum(part["type"] != "text" for part in parts)


@given(messages=MESSAGES)
def test_an_escape_hides_no_picture(messages: list[dict[str, Any]]) -> None:
    simple = [each | {"content": "x"} if isinstance(each["content"], str) else each for each in messages]
    for each in simple:
        if isinstance(each["content"], list):
            each["content"] = [part for part in each["content"] if part["type"] != "text"]
    said = json.dumps(simple).split('"')
    allowed, plain = most('"'.join(escaped(piece) if at % 2 else piece for at, piece in enumerate(said)))
    pictures = sum(len(each["content"]) for each in simple if isinstance(each["content"], list))
    assert allowed == plain + MEDIA_TOKENS * pictures


def test_messages_that_cannot_be_read_may_cost_the_whole_context() -> None:
    assert most('[{"role":"user","content":{"type":"image_url"}}]')[0] == CONTEXT
