"""Chat: talks with one person or a group, their messages, and how many of them were not read."""

from __future__ import annotations

from datetime import datetime

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need


class Talk(Record, frozen=True):
    """A conversation. ``members`` is empty unless it is a group's."""

    name: str
    members: tuple[str, ...] = ()
    stranger: bool = False


class Unread(Record, frozen=True):
    """How many messages of the talk with this number were not read."""

    count: int


class Message(Record, frozen=True):
    """``author`` is empty when the phone's owner wrote it."""

    talk: str
    author: str
    text: str
    at: datetime


class Chat:
    """The application and what was said in it."""

    def __init__(self, diary: Diary) -> None:
        self.talks: Table[Talk] = Table()
        self.unread: Table[Unread] = Table()  # the same numbers as the talks
        self.messages: Table[Message] = Table()
        self._diary = diary

    def of(self, talk: Talk) -> list[Message]:
        """Its messages, oldest first."""
        return sorted((each for each in self.messages if each.talk == talk.name), key=lambda each: (each.at, each.id))

    def read(self, talk_id: int) -> None:
        """Its messages were seen."""
        if self.unread.get(talk_id).count:
            self._diary.tell("chat", "read", self.unread.change(talk_id, count=0))

    def send(self, talk_id: int, text: str) -> Message:
        """Say something."""
        need(text, "empty")
        message = Message(talk=self.talks.get(talk_id).name, author="", text=text, at=self._diary.now)
        message = self.messages.add(message)
        self._diary.tell("chat", "send", message)
        return message

    def delete(self, message_id: int) -> None:
        """Take back what one said oneself."""
        need(not self.messages.get(message_id).author, "not_yours")
        self._diary.tell("chat", "delete", self.messages.remove(message_id))
