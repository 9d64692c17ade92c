"""The owner's side: serves the relays of a house, itself among them, from the queues that are here.

Models are spread over as many parts as there are relays, by their names. A part belongs to the relay that holds the
lock on its file; the kernel gives that to one at a time, and takes it from one that dies, so there are never two owners
and never long none. What a relay holds comes back when its connection ends, for its requests end with it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
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


def part_of(model: str, parts: int) -> int:
    """The part to which its queue belongs."""
    return crc32(model.encode()) % parts


class Owner:
    """What relay ``number`` owns. ``sockets`` are those of all relays by their numbers, ``line`` the own line of a
    model."""

    def __init__(self, sockets: list[str], number: int, line: Callable[[str], OwnLine], clock: Clock) -> None:
        self.sockets, self.number = sockets, number
        self._line, self._now_s = line, clock.mono_s
        self._open_s: dict[int, float] = {}  # of the parts that are ours: when slots are given
        self._locks = [os.open(f"{socket}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for socket in sockets]

    async def listen(self) -> asyncio.Server:
        """Serve whoever connects, until the server is closed."""
        own = self.sockets[self.number]
        Path(own).unlink(missing_ok=True)  # of a relay of this number that was killed
        return await asyncio.start_unix_server(self._serve, own, limit=ASKED_BYTES_MAX)

    def seize(self, part: int) -> None:
        """Own ``part``, if nobody does. In the first ``OWNER_GRACE_S`` no slot is given: the others say which they
        have."""
        if part in self._open_s:
            return
        lock = self._locks[part]
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        os.pwrite(lock, b"%4d" % self.number, 0)
        self._open_s[part] = self._now_s() + OWNER_GRACE_S

    def last(self, part: int) -> int:
        """The number of the relay that owns ``part``, or was the last to; of a part that nobody ever had, its own."""
        return int(os.pread(self._locks[part], 4, 0) or part)

    def opens_s(self, model: str) -> float | None:
        """Since when slots of ``model`` are given here; None when its queue is not ours."""
        return self._open_s.get(part_of(model, len(self.sockets)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        desk = _Desk(self, self._line, self._now_s, writer)
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
        self,
        owner: Owner,
        line: Callable[[str], OwnLine],
        now_s: Callable[[], float],
        writer: asyncio.StreamWriter,
    ) -> None:
        self._owner, self._line, self._now_s, self._writer = owner, line, now_s, writer
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
                line.rules.back(turn)
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
        open_s = self._owner.opens_s(word.model)
        if open_s is None:  # it was said before somebody else became the owner
            self._writer.close()
            return
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
        if (wait_s := open_s - self._now_s()) > 0:
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
