"""Pages of the mail: folders, a mail with what can be done with it, and a sheet to write on."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.apps.mail import FOLDERS, Letter
from openmaas.apps.simphone.world.pages.page import Ask, Desk, go


class MailPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.mail = desk.state.mail

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            self.desk.route("/mail/", self.folder),
            self.desk.route("/mail/letter/{number:int}", self.letter),
            self.desk.route("/mail/letter/{number:int}/move", self.move, "POST"),
            self.desk.route("/mail/letter/{number:int}/delete", self.delete, "POST"),
            self.desk.route("/mail/compose", self.compose),
            self.desk.route("/mail/send", self.send, "POST"),
        ]

    def folder(self, ask: Ask) -> Response:
        """What is in a folder."""
        folder, query = ask.text("folder", "inbox"), ask.text("q")
        rows = [(letter, self.mail.seen.get(letter.id).seen) for letter in self.mail.folder(folder, query)]
        title = self.desk.words.ui[folder]
        return self._draw("mail_folder", title, "/", folder=folder, folders=FOLDERS, rows=rows, query=query)

    def letter(self, ask: Ask) -> Response:
        """One mail; to open it is to have seen it."""
        letter = self.mail.letters.get(ask.number)
        self.mail.read(letter.id)
        return self._draw("mail_letter", letter.subject, self._folder(letter), letter=letter)

    def move(self, ask: Ask) -> Response:
        """Into another folder."""
        back = self._folder(self.mail.letters.get(ask.number))
        self.mail.move(ask.number, ask.text("folder"))
        return go(back)

    def delete(self, ask: Ask) -> Response:
        """Into the bin, or away."""
        back = self._folder(self.mail.letters.get(ask.number))
        self.mail.delete(ask.number)
        return go(back)

    def compose(self, ask: Ask) -> Response:
        """A new mail, or an answer."""
        answers = ask.whole("answers", 0)
        answered = self.mail.letters.get(answers) if answers else None
        back = f"/mail/letter/{answers}" if answers else "/mail/"
        title = self.desk.words.ui["reply" if answers else "compose"]
        return self._draw("mail_compose", title, back, answered=answered)

    def send(self, ask: Ask) -> Response:
        """Off it goes."""
        self.mail.send(ask.text("to"), ask.text("subject"), ask.text("text"), ask.whole("answers", 0))
        return go("/mail/?folder=sent")

    def _folder(self, letter: Letter) -> str:
        return f"/mail/?folder={letter.folder}"

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "mail", title, back, **values)
