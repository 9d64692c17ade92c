"""Records with a number, and the diary of all that happened to them.

A record is frozen: to change one is to put another in its place, so that a copy of the table taken at the beginning
still says how everything was. Nothing here knows what a record means.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import msgspec

from openmaas.core.errors import CannotAct, ThingUnknown


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Something an application keeps. ``id`` is 0 until a table has taken it."""

    id: int = 0


R = TypeVar("R", bound=Record)


class Table(Generic[R]):
    """Records by number, in the order in which they came."""

    def __init__(self) -> None:
        self._rows: dict[int, R] = {}
        self._next = 1

    def __iter__(self) -> Iterator[R]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, record: R) -> R:
        """The record with the next number."""
        record = msgspec.structs.replace(record, id=self._next)
        self._rows[record.id] = record
        self._next += 1
        return record

    def get(self, number: int) -> R:
        """Raises ``ThingUnknown`` when there is none."""
        if number not in self._rows:
            raise ThingUnknown(str(number))
        return self._rows[number]

    def change(self, number: int, **fields: object) -> R:
        """The record as it is with these fields."""
        self._rows[number] = msgspec.structs.replace(self.get(number), **fields)
        return self._rows[number]

    def remove(self, number: int) -> R:
        """Raises ``ThingUnknown`` when there is none."""
        gone = self.get(number)
        del self._rows[number]
        return gone

    def copy(self) -> dict[int, R]:
        """The records as they are now."""
        return dict(self._rows)


class Event(msgspec.Struct, frozen=True):
    """Something that was done: in which application, what, and to which record."""

    at: datetime
    app: str
    what: str
    record: Record


class Diary:
    """All that happened, by the world's own clock: a second goes by with each event, and never otherwise."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.events: list[Event] = []

    def tell(self, app: str, what: str, record: Record) -> None:
        """It happened, now."""
        self.now += timedelta(seconds=1)
        self.events.append(Event(self.now, app, what, record))


def need(holds: object, why: str) -> None:
    """Raises ``CannotAct`` unless it holds; ``why`` is a word of the table ``refusals`` of each language."""
    if not holds:
        raise CannotAct(why)
