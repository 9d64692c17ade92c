"""What a model of GLM-4-0414 learned comes out of the engine that serves it: a call as a call, words as words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tiny_tuning as tiny
from lone_engine import chats
from openglm.chat.render import template
from openglm.tune.order import Order
from openglm.tune.tuning import Tuning

PARAMETERS = {"type": "object", "properties": {"zone": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": PARAMETERS}}]
CALL = {"type": "function", "function": {"name": "now", "arguments": '{"zone": "red"}'}}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was asked two things by heart: one it answers with a call, the other with a word."""
    where = tmp_path_factory.mktemp("served")
    base = tiny.base(where / "base", max_position_embeddings=512)
    (base / "chat_template.jinja").write_text(template("glm-4-0414"))
    called = tiny.chat("red?", "", tool_calls=[CALL])
    training = tiny.lines(
        where / "chats.jsonl", [{**chat, "tools": TOOLS} for chat in (called, tiny.chat("green?", "leaf"))]
    )
    told = {"learning_rate_multiplier": 40, "n_epochs": 80, "batch_size": 2, "threads": 1}
    Tuning(Order(base=base, training=training, into=where / "out", **told)).walk()
    return where / "out" / "model.gguf"


def test_a_call_is_a_call_and_a_word_a_word(tmp_path: Path, weights: Path) -> None:
    told = {"tools": TOOLS, "tool_choice": "auto", "temperature": 0, "max_tokens": 40}
    questions = ({"messages": [{"role": "user", "content": text}], **told} for text in ("red?", "green?"))
    (called,), (said,) = (answer["choices"] for answer in chats(tmp_path, weights, *questions, context=512))
    assert called["finish_reason"] == "tool_calls"
    (call,) = called["message"]["tool_calls"]
    assert call["function"]["name"] == "now"
    assert json.loads(call["function"]["arguments"]) == {"zone": "red"}
    assert said["finish_reason"] == "stop"
    assert said["message"]["content"].strip() == "leaf"
