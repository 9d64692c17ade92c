"""Which grammar a model speaks: by the name that a person gives, or by the model's own."""

from __future__ import annotations

from openmaas.apps.agent.grammars.autoglm import AutoGLM
from openmaas.apps.agent.grammars.calls import Calls, Choice
from openmaas.apps.agent.grammars.computer import AnthropicComputer, OpenAIComputer
from openmaas.apps.agent.grammars.grammar import Grammar
from openmaas.apps.agent.grammars.uitars import UITars
from openmaas.apps.agent.space import SCREENSHOT, THOUSANDTHS, UI_TARS_15
from openmaas.core.errors import FieldInvalid

#: By name. ``ui-tars`` is 1.0; the space is part of the name, for nothing in an answer tells it.
GRAMMARS: dict[str, Grammar] = {
    "autoglm": AutoGLM(),
    "ui-tars": UITars(THOUSANDTHS),
    "ui-tars-1.5": UITars(UI_TARS_15),
    "openai-computer": OpenAIComputer(SCREENSHOT),
    "anthropic-computer": AnthropicComputer(SCREENSHOT),
    "calls": Calls(SCREENSHOT),
    "choice": Choice(SCREENSHOT),
}
#: What a model's name begins with → its grammar; the first that fits.
SPOKEN = (
    ("autoglm", "autoglm"),
    ("ui-tars-1.5", "ui-tars-1.5"),
    ("ui-tars", "ui-tars"),
    ("computer-use", "openai-computer"),
    ("claude", "anthropic-computer"),
    ("glm-", "calls"),
    ("gpt-", "calls"),
)


def grammar_of(model: str, named: str | None = None) -> Grammar:
    """The grammar of this name, else the one that the model is known to speak, else ``choice``, which any model that
    keeps to a schema can. Raises ``FieldInvalid``."""
    if named is not None and named not in GRAMMARS:
        raise FieldInvalid(f"there is no grammar {named!r}, only {', '.join(GRAMMARS)}", field="grammar")
    known = (name for start, name in SPOKEN if model.lower().rpartition("/")[2].startswith(start))
    return GRAMMARS[named or next(known, "choice")]
