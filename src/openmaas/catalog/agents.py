"""Agents: a model with a task that its operator wrote for it. Pure functions of one transaction, and of values.

An agent is data: a system prompt with places for variables, which its callers fill, and what else of a chat it fixes.
It is no loop and has no tools; whoever asks it asks a model, and pays that model's price.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from openmaas.catalog.book import find_model
from openmaas.catalog.law import agents
from openmaas.core.bounds import AGENT_VALUE_LENGTH_MAX
from openmaas.core.errors import AlreadyThere, FieldInvalid, ThingUnknown

#: Where a variable stands in a prompt, and its value in a variable's sentence.
_PLACE, _VALUE = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_.]*)\}"), "{value}"


class Variable(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a caller may say. ``name`` with dots is a member inside a member. ``text`` takes any value, ``choice`` one
    of ``words``, ``file`` the id of a file, whose text it is then. ``words`` say what some values mean to the model;
    ``said`` is the sentence around ``{value}``, which is left out when the value is empty."""

    name: str
    kind: Literal["text", "choice", "file"] = "text"
    default: str = ""
    words: dict[str, str] = {}
    said: str = _VALUE


class Agent(msgspec.Struct, frozen=True):
    """``chat``: members of the chat that the operator fixes, such as the temperature. ``later``: its callers fetch the
    answer, as that of an async task."""

    id: str
    model: str
    description: str
    prompt: str
    variables: tuple[Variable, ...]
    chat: dict[str, Any]
    later: bool
    created_ms: int

    def values(self, told: dict[str, Any]) -> dict[str, str]:
        """The value of each variable, from ``custom_variables`` or by default. Raises ``FieldInvalid``."""
        return {each.name: _value(each, told) for each in self.variables}

    def system(self, values: dict[str, str], files: dict[str, str]) -> str:
        """The system prompt with ``values`` in it; of those that are files, ``files`` has the text."""
        said = {}
        for each in self.variables:
            value = values[each.name]
            text = files.get(value, "") if each.kind == "file" else each.words.get(value, value)
            said[each.name] = each.said.replace(_VALUE, text) if text else ""
        return _PLACE.sub(lambda place: said.get(place[1], place[0]), self.prompt)


def add_agent(tx: sa.Connection, agent: Agent) -> Agent:
    """Offer an agent. Raises ``AlreadyThere``, ``ModelUnknown``, ``FieldInvalid``."""
    find_model(tx, agent.model)
    _check(agent)
    try:
        with tx.begin_nested():
            tx.execute(agents.insert().values(msgspec.to_builtins(agent)))
    except IntegrityError:
        raise AlreadyThere(f"there is already an agent {agent.id!r}", field="id") from None
    return agent


def change_agent(tx: sa.Connection, /, agent_id: str, chat: dict[str, Any], **changes: Any) -> Agent:
    """Change members of an agent, and some of those that it fixes of a chat. Raises ``ThingUnknown``, ``ModelUnknown``,
    ``FieldInvalid``."""
    found = find_agent(tx, agent_id)
    changed = msgspec.structs.replace(found, chat=found.chat | chat, **changes)
    find_model(tx, changed.model)
    _check(changed)
    tx.execute(agents.update().where(agents.c.id == agent_id).values(msgspec.to_builtins(changed)))
    return changed


def remove_agent(tx: sa.Connection, agent_id: str) -> None:
    """Offer it no more. Raises ``ThingUnknown``."""
    if not tx.execute(agents.delete().where(agents.c.id == agent_id)).rowcount:
        raise _unknown(agent_id)


def find_agent(tx: sa.Connection, agent_id: str) -> Agent:
    """The agent of this id. Raises ``ThingUnknown``."""
    row = tx.execute(sa.select(agents).where(agents.c.id == agent_id)).mappings().first()
    if row is None:
        raise _unknown(agent_id)
    return _read(row)


def list_agents(tx: sa.Connection, *, after: str = "", limit: int | None = None) -> list[Agent]:
    """Agents by id, after ``after``; all of them without ``limit``."""
    query = sa.select(agents).where(agents.c.id > after).order_by(agents.c.id).limit(limit)
    return [_read(row) for row in tx.execute(query).mappings()]


def _read(row: sa.RowMapping) -> Agent:
    variables = msgspec.convert(row["variables"], tuple[Variable, ...])
    return Agent(**{**row, "variables": variables})


def _unknown(agent_id: str) -> ThingUnknown:
    return ThingUnknown(f"there is no agent {agent_id!r}", field="agent_id")


def _check(agent: Agent) -> None:
    """Raises ``FieldInvalid`` for what no caller could use."""
    named = [each.name for each in agent.variables]
    for name in _PLACE.findall(agent.prompt):
        if name not in named:
            raise FieldInvalid(
                f"prompt has a place {{{name}}} and no such variable stands in variables", field="prompt"
            )
    for each in agent.variables:
        if named.count(each.name) > 1:
            raise FieldInvalid(f"variables has {each.name} twice", field="variables")
        if each.kind == "choice" and each.default not in each.words:
            raise FieldInvalid(f"the default of {each.name} must be one of its words", field="variables")


def _value(variable: Variable, told: dict[str, Any]) -> str:
    field = f"custom_variables.{variable.name}"
    found: Any = told
    for part in variable.name.split("."):
        if found is not None and not isinstance(found, dict):
            raise FieldInvalid(f"{field} cannot be read: {part} stands in no object", field=field)
        found = None if found is None else found.get(part)
    if found is None:
        return variable.default
    if isinstance(found, dict | list) or len(text := str(found)) > AGENT_VALUE_LENGTH_MAX:
        raise FieldInvalid(f"{field} must be a text of at most {AGENT_VALUE_LENGTH_MAX} characters", field=field)
    if variable.kind == "choice" and text not in variable.words:
        raise FieldInvalid(f"{field} must be one of {', '.join(variable.words)}", field=field)
    return text
