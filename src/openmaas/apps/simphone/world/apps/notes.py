"""Notes: a title and a text."""

from __future__ import annotations

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need


class Note(Record, frozen=True):
    """One note."""

    title: str
    text: str


class Notes:
    """The application and what was noted."""

    def __init__(self, diary: Diary) -> None:
        self.notes: Table[Note] = Table()
        self._diary = diary

    def search(self, query: str) -> list[Note]:
        """Newest first."""
        return [each for each in self.notes if query.casefold() in f"{each.title} {each.text}".casefold()][::-1]

    def create(self, title: str, text: str) -> Note:
        """A further note."""
        need(title, "empty")
        note = self.notes.add(Note(title=title, text=text))
        self._diary.tell("notes", "create", note)
        return note

    def edit(self, note_id: int, title: str, text: str) -> None:
        """Another title and text."""
        need(title, "empty")
        self._diary.tell("notes", "edit", self.notes.change(note_id, title=title, text=text))

    def delete(self, note_id: int) -> None:
        """It is gone."""
        self._diary.tell("notes", "delete", self.notes.remove(note_id))
