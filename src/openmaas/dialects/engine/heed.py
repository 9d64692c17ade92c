"""What an engine is asked when a call is demanded and its word cannot be trusted, and how its text becomes calls.

Three kinds of engine: one that reads calls out of its own text and keeps ``tool_choice`` (ours): nothing is done here.
One that reads calls but does not keep a demand: it is sent the tools as a schema instead (``tools/demand.py``). One
that gives the model's text as it is: its form is read here (``tools/formats.py``). A demand not kept is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import msgspec

from openmaas.core.errors import CallMissing
from openmaas.dialects.conversation import Conversation, Format, Message, Text
from openmaas.dialects.dialect import Manner
from openmaas.dialects.pieces import Called, Ended, Piece, Said
from openmaas.dialects.tools.demand import Demand, demand, note, schema_of
from openmaas.dialects.tools.formats import Format as Form
from openmaas.dialects.tools.formats import parser
from openmaas.dialects.tools.honour import Honour, compiled_reader
from openmaas.dialects.tools.parsing import CallEnded, Malformed, NewId, NotHonoured, Parser
from openmaas.dialects.tools.parsing import Piece as Found

#: In the words of a deployment: models whose prompt opens the thought, and how they call.
_OPENS_THOUGHT: dict[str, Form] = {"glm47": "glm", "glmz1": "glm4"}


def demanded(asked: Conversation) -> Demand:
    """Which calls may come, and whether one must. Raises ``FieldInvalid``."""
    return demand(asked.tools, asked.tool_choice, asked.parallel)


def heeds(asked: Conversation, manner: Manner) -> bool:
    """True when the engine needs nothing of this module."""
    if not asked.tools:
        return True
    return not manner.calls and (manner.forces or not demanded(asked).forced)


def compiled(asked: Conversation, wanted: Demand) -> Conversation:
    """The same question with the tools as a schema that the answer must keep, and a word that says what they are."""
    schema = msgspec.Raw(msgspec.json.encode(schema_of(wanted)))
    told = Message("system", (Text(note(wanted)),))
    changes = {"tools": (), "tool_choice": None, "parallel": None, "format": Format("call", schema, True)}
    return msgspec.structs.replace(asked, messages=(told, *asked.messages), **changes)


def reader(asked: Conversation, manner: Manner, new_id: NewId) -> Callable[[], Parser]:
    """Makes what reads the text of one choice."""
    wanted = demanded(asked)
    if wanted.forced and not manner.forces:
        return lambda: compiled_reader(wanted, new_id)
    inside = manner.calls in _OPENS_THOUGHT and asked.thinking is not False
    form = _OPENS_THOUGHT.get(manner.calls, cast(Form, manner.calls))
    schemas = wanted.schemas()
    return lambda: Honour(parser(form, schemas, new_id, thinking=inside), wanted)


class Heed:
    """Turns the words of an answer into words and calls, choice by choice."""

    def __init__(self, make: Callable[[], Parser]) -> None:
        self._make = make
        self._parsers: dict[int, Parser] = {}
        self._called: set[int] = set()
        self._why = ""

    def read(self, piece: Piece) -> Iterator[Piece]:
        """The pieces that ``piece`` turns out to be."""
        if isinstance(piece, Said):
            yield from self._found(self._parser(piece.choice).feed(piece.text), piece.choice)
        elif isinstance(piece, Ended):
            yield from self._found(self._parser(piece.choice).finish(), piece.choice)
            called = piece.choice in self._called and piece.reason == "stop"
            yield msgspec.structs.replace(piece, reason="calls") if called else piece
        else:
            yield piece

    def check(self) -> None:
        """Raises ``CallMissing`` when a call was demanded and did not come. Call at the end, when all is counted."""
        if self._why:
            raise CallMissing(self._why)

    def _parser(self, choice: int) -> Parser:
        if choice not in self._parsers:
            self._parsers[choice] = self._make()
        return self._parsers[choice]

    def _found(self, pieces: list[Found], choice: int) -> Iterator[Piece]:
        for piece in pieces:
            match piece:
                case CallEnded():
                    pass
                case NotHonoured():
                    self._why = piece.why
                case Malformed():
                    yield Said(piece.text, choice)
                case Called():
                    self._called.add(choice)
                    yield msgspec.structs.replace(piece, choice=choice)
                case _:
                    yield msgspec.structs.replace(piece, choice=choice)
