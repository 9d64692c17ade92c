"""The owner's side: serves other relays of the house from the lines that are here.

Which relay owns a model's queue follows from the model's name alone, so all agree without asking; the house has one
relay of each number at a time, and its socket is that relay's. What a relay holds comes back when its connection ends,
for its requests end with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from openmaas.core.bounds import ASKED_BYTES_MAX, OWNER_GRACE_S
from openmaas.core.clock import Clock
from openmaas.core.errors import NoReplica
from openmaas.relay.lines.own import OwnLine
from openmaas.relay.lines.replica import Replica
from openmaas.relay.lines.words import Back, End, Granted, Refused, Said, Take, asked, said
from openmaas.scheduling.turn import Turn


def owner_of(model: str, relays: int) -> int:
    """The number of the relay that owns its queue."""
    return crc32(model.encode()) % relays


class Owner:
    """``line`` is the own line of a model."""

    def __init__(self, socket: str, line: Callable[[str], OwnLine], clock: Clock) -> None:
        self._socket, self._line, self._now_s = socket, line, clock.mono_s
        self._open_s = 0.0

    async def listen(self) -> asyncio.Server:
        """Serve whoever connects, until the server is closed; but give no slot in the first ``OWNER_GRACE_S``, in which
        the others say which they have."""
        self._open_s = self._now_s() + OWNER_GRACE_S
        Path(self._socket).unlink(missing_ok=True)  # of a relay of this number that was killed
        return await asyncio.start_unix_server(self._serve, self._socket, limit=ASKED_BYTES_MAX)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        desk = _Desk(self._line, self._now_s, writer, self._open_s)
        try:
            while line := await reader.readline():
                desk.hear(asked.decode(line))
        except ConnectionError:
            pass
        finally:
            desk.close()
            writer.close()


class _Desk:
    """One other relay's requests."""

    def __init__(
        self, line: Callable[[str], OwnLine], now_s: Callable[[], float], writer: asyncio.StreamWriter, open_s: float
    ) -> None:
        self._line, self._now_s, self._writer, self._open_s = line, now_s, writer, open_s
        self._turns: dict[int, tuple[OwnLine, Turn]] = {}

    def hear(self, word: Take | Said | Back | End) -> None:
        if isinstance(word, Take):
            self._take(word)
            return
        if word.number not in self._turns:  # it was refused meanwhile
            return
        line, turn = self._turns[word.number]
        if isinstance(word, Said):
            line.rules.read(turn)
            line.rules.wrote(turn, word.tokens - turn.said)
            return
        del self._turns[word.number]
        replica = turn.server
        if not isinstance(replica, Replica):
            line.rules.leave(turn)
        elif isinstance(word, Back):
            if word.unreached:
                line.unreached(turn, replica)
            else:
                line.rules.back(turn, self._now_s())
        else:
            if word.answered is not None:
                replica.heard(self._now_s(), answered=word.answered)
            line.end(turn, word.output_tokens, word.unread_tokens)

    def close(self) -> None:
        """The relay is gone, and its requests with it."""
        turns, self._turns = self._turns, {}
        for line, turn in turns.values():
            if turn.server is None:
                line.rules.leave(turn)
            else:
                line.end(turn, turn.said, turn.prompt_tokens)

    def _take(self, word: Take) -> None:
        line, turn = self._line(word.model), word.turn(self._now_s())
        self._turns[word.number] = line, turn
        if word.place is not None:
            line.keep(turn, word.place)
            return

        def told(turn: Turn) -> None:
            if turn.error is not None:
                self._turns.pop(word.number, None)
                ready = not isinstance(turn.error, NoReplica)
                self._say(Refused(word.number, ready, turn.error.detail, turn.error.retry_after_s or 1.0))
            elif isinstance(turn.server, Replica):
                self._say(Granted(word.number, turn.server.name))

        turn.told = told
        if (wait_s := self._open_s - self._now_s()) > 0:
            asyncio.get_running_loop().call_later(wait_s, self._enter, word.number)
        else:
            line.enter(turn)

    def _enter(self, number: int) -> None:
        if number in self._turns:
            line, turn = self._turns[number]
            line.enter(turn)

    def _say(self, word: Granted | Refused) -> None:
        if not self._writer.is_closing():
            self._writer.write(said(word))
