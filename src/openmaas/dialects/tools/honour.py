"""Whether a demanded call has come. A forced choice that the engine did not honour never passes for an answer: the last
piece then is ``NotHonoured``, for the caller to fail on, loudly.

Stands behind the parser of what the engine writes: ``Plain`` for a compiled schema, the model's own form elsewhere.
"""

from __future__ import annotations

from openmaas.core.bounds import TOOL_SAID_MAX
from openmaas.dialects.pieces import Argued, Called, Said
from openmaas.dialects.tools.demand import Demand
from openmaas.dialects.tools.lines import Plain
from openmaas.dialects.tools.parsing import CallEnded, Malformed, NewId, NotHonoured, Parser, Piece, joined


class Honour:
    """A ``Parser`` behind a ``Parser``. Without a demand that forces it passes everything. With one, words before the
    first call are held back until it comes (up to ``TOOL_SAID_MAX``); calls that nobody asked for are left out."""

    def __init__(self, parser: Parser, wanted: Demand) -> None:
        self._parser = parser
        self._wanted = wanted
        self._names = wanted.names
        self._held: list[Piece] = []
        self._size = 0
        self._holding = wanted.forced
        self._left_out: set[int] = set()
        self._calls = self._whole = 0
        self._why = ""

    def feed(self, text: str) -> list[Piece]:
        """See ``Parser``."""
        return self._judged(self._parser.feed(text))

    def finish(self) -> list[Piece]:
        """See ``Parser``."""
        pieces = self._judged(self._parser.finish())
        if not self._wanted.forced:
            return pieces
        if not self._why and not self._whole:
            self._why = "the answer has no whole call"
        if self._why:
            held = "".join(piece.text for piece in self._held if isinstance(piece, Said | Malformed))
            return [*pieces, NotHonoured(self._why, held)]
        return pieces

    def _judged(self, pieces: list[Piece]) -> list[Piece]:
        if not self._wanted.forced:
            return pieces
        out: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Called) and not self._asked_for(piece):
                self._left_out.add(piece.index)
            elif isinstance(piece, Called | Argued | CallEnded | Malformed) and piece.index in self._left_out:
                continue
            elif self._holding and isinstance(piece, Said | Malformed):
                self._held.append(piece)
                self._size += len(piece.text)
                if self._size > TOOL_SAID_MAX:
                    out += self._let_go()
            else:
                out += self._let_go() if isinstance(piece, Called) else []
                out.append(piece)
                self._whole += isinstance(piece, CallEnded)
        return joined(out)

    def _asked_for(self, call: Called) -> bool:
        self._calls += 1
        if call.name not in self._names:
            self._why = f"{call.name} was called, which was not allowed"
        elif self._wanted.many is False and self._calls > 1:
            self._why = "several calls came where one was allowed"
        else:
            return True
        return False

    def _let_go(self) -> list[Piece]:
        held, self._held, self._holding = self._held, [], False
        return held


def compiled_reader(wanted: Demand, new_id: NewId) -> Honour:
    """Reads the answer of an engine that was sent ``schema_of(wanted)``."""
    return Honour(Plain(wanted.names, new_id), wanted)
