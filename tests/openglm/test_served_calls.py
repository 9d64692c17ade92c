"""What a model of GLM-4-0414 learned comes out of the engine that serves it: a call as a call, words as words."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import tiny_tuning as tiny
from openglm.chat.render import template
from openglm.tune.order import Order
from openglm.tune.tuning import Tuning
from openmaas.engines.spec import EngineSpec

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


def asked(where: Path, weights: Path, *bodies: dict[str, Any]) -> list[dict[str, Any]]:
    """What the engine answers to each."""
    spec = EngineSpec(
        kind="llama",
        model="m",
        socket=str(where / "e.sock"),
        meter=str(where / "meter"),
        weights=str(weights),
        slots=1,
        context=512,
    )
    command = [sys.executable, "-m", "openmaas.engines.program"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as engine:
        assert engine.stdin is not None
        assert engine.stdout is not None
        try:
            engine.stdin.write(spec.line())
            engine.stdin.flush()
            assert engine.stdout.readline() == b"ready\n"
            found = []
            for body in bodies:
                connection = http.client.HTTPConnection("engine")
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.connect(spec.socket)
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"x-request-id": "req_1"})
                found.append(json.loads(connection.getresponse().read()))
                connection.close()
            return found
        finally:
            engine.stdin.close()  # its lifeline


def test_a_call_is_a_call_and_a_word_a_word(tmp_path: Path, weights: Path) -> None:
    told = {"tools": TOOLS, "tool_choice": "auto", "temperature": 0, "max_tokens": 40}
    questions = ({"messages": [{"role": "user", "content": text}], **told} for text in ("red?", "green?"))
    (called,), (said,) = (answer["choices"] for answer in asked(tmp_path, weights, *questions))
    assert called["finish_reason"] == "tool_calls"
    (call,) = called["message"]["tool_calls"]
    assert call["function"]["name"] == "now"
    assert json.loads(call["function"]["arguments"]) == {"zone": "red"}
    assert said["finish_reason"] == "stop"
    assert said["message"]["content"].strip() == "leaf"
