"""Pages of the notes: all of them, and one to be written."""

from __future__ import annotations

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.pages.page import Ask, Desk, go


class NotesPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.notes = desk.state.notes

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            self.desk.route("/notes/", self.home),
            self.desk.route("/notes/new", self.new),
            self.desk.route("/notes/new", self.create, "POST"),
            self.desk.route("/notes/{number:int}", self.note),
            self.desk.route("/notes/{number:int}", self.edit, "POST"),
            self.desk.route("/notes/{number:int}/delete", self.sure),
            self.desk.route("/notes/{number:int}/delete", self.delete, "POST"),
        ]

    def home(self, ask: Ask) -> Response:
        """All of them, or what a search found."""
        query = ask.text("q")
        title = self.desk.words.apps["notes"]
        return self._draw("notes_home", title, "/", notes=self.notes.search(query), query=query)

    def new(self, ask: Ask) -> Response:
        """An empty one."""
        return self._draw("notes_note", self.desk.words.ui["new_note"], "/notes/", note=None)

    def create(self, ask: Ask) -> Response:
        """Keep it."""
        self.notes.create(ask.text("title"), ask.text("text"))
        return go("/notes/")

    def note(self, ask: Ask) -> Response:
        """One of them."""
        note = self.notes.notes.get(ask.number)
        return self._draw("notes_note", note.title, "/notes/", note=note)

    def edit(self, ask: Ask) -> Response:
        """Keep it as it is now."""
        self.notes.edit(ask.number, ask.text("title"), ask.text("text"))
        return go("/notes/")

    def sure(self, ask: Ask) -> Response:
        """Asked once more."""
        note, ui = self.notes.notes.get(ask.number), self.desk.words.ui
        here = f"/notes/{note.id}"
        return self._draw(
            "sure", note.title, here, action=f"{here}/delete", why=ui["sure_delete"], yes=ui["delete"], no=ui["keep"]
        )

    def delete(self, ask: Ask) -> Response:
        """Away with it."""
        self.notes.delete(ask.number)
        return go("/notes/")

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "notes", title, back, **values)
