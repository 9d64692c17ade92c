"""Mail: an inbox, what was sent, an archive and a bin."""

from __future__ import annotations

from datetime import datetime

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need
from openmaas.core.errors import FieldInvalid

FOLDERS = ("inbox", "sent", "archive", "bin")


class Letter(Record, frozen=True):
    """A mail. ``author`` is empty when the phone's owner wrote it, ``answers`` is the number of another."""

    folder: str
    author: str
    to: str
    subject: str
    text: str
    at: datetime
    answers: int = 0


class Seen(Record, frozen=True):
    """Whether the mail with this number was opened."""

    seen: bool


class Mail:
    """The application and what came and went."""

    def __init__(self, diary: Diary) -> None:
        self.letters: Table[Letter] = Table()
        self.seen: Table[Seen] = Table()  # the same numbers as the letters
        self._diary = diary

    def put(self, letter: Letter) -> Letter:
        """A mail that came, or was written."""
        self.seen.add(Seen(seen=not letter.author))
        return self.letters.add(letter)

    def folder(self, name: str, query: str = "") -> list[Letter]:
        """Newest first; a query looks at everything that was written."""
        if name not in FOLDERS:
            raise FieldInvalid(name, field="folder")
        found = [
            each
            for each in self.letters
            if each.folder == name
            and query.casefold() in f"{each.author} {each.to} {each.subject} {each.text}".casefold()
        ]
        return sorted(found, key=lambda each: (each.at, each.id), reverse=True)

    def read(self, letter_id: int) -> None:
        """It was opened."""
        if not self.seen.get(letter_id).seen:
            self._diary.tell("mail", "read", self.seen.change(letter_id, seen=True))

    def send(self, to: str, subject: str, text: str, answers: int = 0) -> Letter:
        """Write to somebody."""
        need("@" in to and " " not in to, "no_address")
        need(text, "empty")
        if answers:
            self.letters.get(answers)
        letter = self.put(
            Letter(folder="sent", author="", to=to, subject=subject, text=text, at=self._diary.now, answers=answers)
        )
        self._diary.tell("mail", "send", letter)
        return letter

    def move(self, letter_id: int, folder: str) -> None:
        """Into another folder."""
        if folder not in FOLDERS:
            raise FieldInvalid(folder, field="folder")
        self._diary.tell("mail", "move", self.letters.change(letter_id, folder=folder))

    def delete(self, letter_id: int) -> None:
        """Into the bin, and from there for good."""
        if self.letters.get(letter_id).folder != "bin":
            self.move(letter_id, "bin")
        else:
            self._diary.tell("mail", "delete", self.letters.remove(letter_id))
