"""By which family's template a checkpoint speaks: told by what its template writes, not by how it is written.

Published templates are other texts than ours that write the same bytes; a copy of one may differ from it by a space.
So both write one conversation, and are of one family when it comes out the same. What templates of one family are asked
in different ways is left out of it: published ones of GLM-4 know calls by other names than OpenAI's.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError

from openglm.chat.render import FAMILIES, Family, compiled, template

_TOOLS = [{"type": "function", "function": {"name": "now", "description": "现在", "parameters": {"type": "object"}}}]
_ASKED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief.", "tools": _TOOLS},  # GLM-4-9B-chat has the tools here
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ],
    "tools": _TOOLS,
    "add_generation_prompt": True,
}


def family_of(source: str) -> Family | None:
    """The family whose template writes a conversation with tools as the Jinja in ``source`` does; None where there is
    none, or ``source`` cannot be rendered."""
    try:
        text = compiled(source).render(_ASKED)
    except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None
    return next((family for family in FAMILIES if compiled(template(family)).render(_ASKED) == text), None)
