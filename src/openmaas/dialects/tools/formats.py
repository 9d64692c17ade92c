"""The parser for each form in which models write calls, by name."""

from __future__ import annotations

from typing import Literal

from openmaas.dialects.tools.glm import Glm
from openmaas.dialects.tools.hermes import Hermes
from openmaas.dialects.tools.lines import NamedLine, Plain
from openmaas.dialects.tools.parsing import NewId, Parser
from openmaas.dialects.tools.thinking import Thinking
from openmaas.dialects.tools.typed import Schemas

#: ``glm``: GLM-4.5 to 4.7. ``hermes``: Hermes, Qwen. ``json``: Llama 3, small models. ``glm4``: GLM-4-9B.
Format = Literal["glm", "hermes", "json", "glm4"]


def parser(form: Format, schemas: Schemas, new_id: NewId, *, thinking: bool = False) -> Parser:
    """A parser for one answer. ``thinking``: the prompt ends inside ``<think>``, and so the answer begins there."""
    match form:
        case "glm":
            calls: Parser = Glm(schemas, new_id)
        case "hermes":
            calls = Hermes(new_id)
        case "json":
            calls = Plain(schemas, new_id)
        case "glm4":
            calls = NamedLine(schemas, new_id)
    return Thinking(calls, inside=thinking)
