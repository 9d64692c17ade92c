"""Pages of the chat: the talks, one of them with a field to answer in, and a message that may be deleted."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.pages.page import Ask, Desk, go
from openmaas.core.errors import ThingUnknown


class ChatPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.chat = desk.state.chat

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            self.desk.route("/chat/", self.talks),
            self.desk.route("/chat/contacts", self.contacts),
            self.desk.route("/chat/talk/{number:int}", self.talk),
            self.desk.route("/chat/talk/{number:int}", self.send, "POST"),
            self.desk.route("/chat/message/{number:int}", self.message),
            self.desk.route("/chat/message/{number:int}", self.delete, "POST"),
        ]

    def talks(self, ask: Ask) -> Response:
        """The last one spoken to first; a search looks at names and at what was said."""
        query = ask.text("q")
        rows = [
            (talk, self.chat.of(talk), self.chat.unread.get(talk.id).count)
            for talk in self.chat.talks
            if query.casefold() in " ".join([talk.name, *(each.text for each in self.chat.of(talk))]).casefold()
        ]
        rows.sort(key=lambda row: [each.at for each in row[1][-1:]], reverse=True)  # who said nothing comes last
        return self._draw("chat_talks", self.desk.words.apps["chat"], "/", rows=rows, query=query)

    def contacts(self, ask: Ask) -> Response:
        """Everybody by name."""
        talks = sorted(self.chat.talks, key=lambda talk: talk.name)
        return self._draw("chat_contacts", self.desk.words.ui["contacts"], "/chat/", talks=talks)

    def talk(self, ask: Ask) -> Response:
        """What was said; to look at it is to have read it."""
        talk = self.chat.talks.get(ask.number)
        self.chat.read(talk.id)
        return self._draw("chat_talk", talk.name, "/chat/", talk=talk, messages=self.chat.of(talk))

    def send(self, ask: Ask) -> Response:
        """Say something."""
        self.chat.send(ask.number, ask.text("message"))
        return go(f"/chat/talk/{ask.number}")

    def message(self, ask: Ask) -> Response:
        """One message, asked whether it should go."""
        message, ui = self.chat.messages.get(ask.number), self.desk.words.ui
        return self._draw(
            "sure",
            ui["message"],
            self._talk_of(message.talk),
            action=f"/chat/message/{message.id}",
            why=message.text,
            yes="" if message.author else ui["delete"],
            no=ui["back"],
        )

    def delete(self, ask: Ask) -> Response:
        """Take it back."""
        talk = self.chat.messages.get(ask.number).talk
        self.chat.delete(ask.number)
        return go(self._talk_of(talk))

    def _talk_of(self, name: str) -> str:
        for talk in self.chat.talks:
            if talk.name == name:
                return f"/chat/talk/{talk.id}"
        raise ThingUnknown(name)

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "chat", title, back, **values)
