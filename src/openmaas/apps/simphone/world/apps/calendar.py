"""A calendar: what is planned for when, where, and how long before one wants to be told."""

from __future__ import annotations

from datetime import date, datetime

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need

#: Minutes before the beginning at which one may be told; -1 is not at all.
REMINDERS = (-1, 0, 10, 30, 60, 1440)


class Entry(Record, frozen=True):
    """Something planned."""

    title: str
    starts: datetime
    place: str = ""
    reminder_minutes: int = -1


class Calendar:
    """The application and what was planned."""

    def __init__(self, diary: Diary) -> None:
        self.entries: Table[Entry] = Table()
        self._diary = diary

    def day(self, day: date) -> list[Entry]:
        """What is planned for a day, earliest first."""
        return sorted((each for each in self.entries if each.starts.date() == day), key=lambda each: each.starts)

    def create(self, entry: Entry) -> Entry:
        """Plan something."""
        self._check(entry)
        entry = self.entries.add(entry)
        self._diary.tell("calendar", "create", entry)
        return entry

    def edit(self, entry_id: int, entry: Entry) -> None:
        """Plan it in another way."""
        self._check(entry)
        changed = self.entries.change(
            entry_id,
            title=entry.title,
            starts=entry.starts,
            place=entry.place,
            reminder_minutes=entry.reminder_minutes,
        )
        self._diary.tell("calendar", "edit", changed)

    def delete(self, entry_id: int) -> None:
        """It will not be."""
        self._diary.tell("calendar", "delete", self.entries.remove(entry_id))

    def _check(self, entry: Entry) -> None:
        need(entry.title, "empty")
        need(entry.reminder_minutes in REMINDERS, "no_option")
