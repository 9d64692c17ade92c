"""A conversation as the text that a GLM reads, by the family's published template; and what of it a model learns.

The templates are Jinja because engines read them from an exported model; here they are rendered with the settings of
Hugging Face (``trim_blocks``, ``lstrip_blocks``, ``tojson`` that leaves Chinese as it is). Tests hold the bytes against
renderings by the published templates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openglm.bounds import COMPILED_TEMPLATES_MAX

Message = Mapping[str, Any]
Family = Literal["glm-4", "glm-4-0414", "glm-z1", "glm-4.5", "glm-4.7"]

#: The families: a file, and the line that tells apart those that share it. GLM-4.6 writes as 4.5 does, 5 as 4.7.
FAMILIES: dict[Family, tuple[str, str]] = {
    "glm-4": ("glm4.jinja", "{%- set line = '4' -%}\n"),
    "glm-4-0414": ("glm4.jinja", "{%- set line = '0414' -%}\n"),
    "glm-z1": ("glm4.jinja", "{%- set line = 'z1' -%}\n"),
    "glm-4.5": ("glm45.jinja", "{%- set lines = true -%}\n"),
    "glm-4.7": ("glm45.jinja", "{%- set lines = false -%}\n"),
}


def template(family: Family) -> str:
    """The Jinja source, as an exported model carries it."""
    file, first = FAMILIES[family]
    return first + (files("openglm.chat") / file).read_text()


def render(
    messages: Sequence[Message],
    family: Family,
    *,
    tools: Sequence[Message] = (),
    prompt: bool = False,
    thinking: bool | None = None,
    keep_thoughts: bool = False,
) -> str:
    """The text of a conversation; with ``prompt`` it ends where the assistant is to begin.

    ``thinking`` False asks for an answer without a thought (True and None leave it to the model), ``keep_thoughts``
    also shows the thoughts of earlier turns (GLM-4.7's ``clear_thinking: false``). Arguments of calls are mappings, not
    JSON in a string. GLM-4 and GLM-4-0414 do not think and leave thoughts out. GLM-Z1 as published always thinks, and
    shows no thought again; where ``thinking`` is told, what ends with an answer shows its thought, and False closes the
    thought at once, both as GLM-4.5 writes them.
    """
    told: dict[str, Any] = {} if thinking is None else {"enable_thinking": thinking}
    if keep_thoughts:
        told["clear_thinking"] = False
    return compiled(template(family)).render(messages=messages, tools=list(tools), add_generation_prompt=prompt, **told)


class Piece(NamedTuple):
    """A stretch of an example: read only, or learned."""

    text: str
    learned: bool


def lessons(messages: Sequence[Message], family: Family, tools: Sequence[Message] = ()) -> Iterator[list[Piece]]:
    """One lesson for each answer of the assistant that counts: what it saw, then what it was to say.

    Each answer has a lesson of its own because earlier turns look different from the last one: their thoughts are gone.
    An answer ends with the token that hands over, ``<|observation|>`` after calls and ``<|user|>`` otherwise. Messages
    with ``weight: 0`` are seen and not learned. Raises ``ValueError`` for an answer that the template does not write.
    """
    for number, message in enumerate(messages):
        if message["role"] != "assistant" or message.get("weight") == 0:
            continue
        thinking = bool(message.get("reasoning_content")) or "</think>" in str(message.get("content"))
        before = render(messages[:number], family, tools=tools, prompt=True, thinking=thinking)
        through = render(messages[: number + 1], family, tools=tools, thinking=thinking)
        if through + "<|assistant|>" == before:
            raise ValueError("an answer is empty, and the template of GLM-4 leaves such messages out")
        assert through.startswith(before), (before[-40:], through[len(before) - 40 :])
        end = "<|observation|>" if message.get("tool_calls") else "<|user|>"
        yield [Piece(before, learned=False), Piece(through[len(before) :] + end, learned=True)]


@lru_cache(COMPILED_TEMPLATES_MAX)
def compiled(source: str) -> Template:
    """A template as engines read it. Raises ``jinja2.TemplateError`` for what is no Jinja."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _json
    return environment.from_string(source)


def _json(value: Any, ensure_ascii: bool = False, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
