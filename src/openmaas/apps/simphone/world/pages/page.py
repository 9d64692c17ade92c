"""What every page is made by: a request as its handler sees it, a template with the language's words, a refusal shown.

A handler takes an ``Ask`` and answers with HTML or a way to go on. What the state refuses becomes a page that says so
in the reader's language; nothing an application keeps is put into HTML but through the templates, which escape it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from openmaas.apps.simphone.world.state import APPS, State
from openmaas.apps.simphone.world.wording import Words, words
from openmaas.core import bounds
from openmaas.core.errors import BadRequest, CannotAct, FieldInvalid, NotFound, Refused, TooLarge


class Ask(msgspec.Struct, frozen=True):
    """What a browser sent: the number in the path, and the fields of the query or of the form."""

    path: str
    number: int
    fields: dict[str, list[str]]

    def text(self, name: str, otherwise: str = "") -> str:
        """A field, without the space around it. Raises ``TooLarge``."""
        text = self.fields.get(name, [otherwise])[0].strip().replace("\r\n", "\n")
        if len(text) > bounds.SIM_TEXT_LENGTH_MAX:
            raise TooLarge(name)
        return text

    def whole(self, name: str, otherwise: int | None = None) -> int:
        """A field that is a number. Raises ``FieldInvalid``."""
        text = self.text(name)
        if not text and otherwise is not None:
            return otherwise
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 16):
            raise FieldInvalid(name, field=name)
        return int(text)

    def many(self, name: str) -> tuple[str, ...]:
        """All that was ticked under this name."""
        return tuple(self.fields.get(name, ()))


#: What stands behind an address.
Handler = Callable[[Ask], Response]


class Desk:
    """Where pages are drawn: a world's state, its words and the templates."""

    def __init__(self, state: State, chosen: Words) -> None:
        self.state = state
        self.words = chosen
        self._templates = _templates(chosen.language)

    def draw(self, template: str, app: str, title: str, back: str, **values: object) -> Response:
        """A page of an application, with a title, and where its arrow back leads."""
        page = self._templates.get_template(f"{template}.jinja")
        said = page.render(state=self.state, app=app, title=title, back=back, **values)
        return HTMLResponse(said, headers={"cache-control": "no-store"})

    def route(self, path: str, handler: Handler, method: str = "GET") -> Route:
        """The handler behind the address; what is refused is drawn."""

        async def answer(request: Request) -> Response:
            app = request.url.path.split("/")[1]
            try:
                return handler(await _read(request))
            except Refused as refused:
                return self.refuse(refused, app if app in APPS else "")

        return Route(path, answer, methods=[method])

    def refuse(self, refused: Refused, app: str) -> Response:
        """Why it was not done, and the way back."""
        said = self.words.refusals
        match refused:
            case CannotAct():
                status, why = 409, said[refused.detail]
            case NotFound():
                status, why = 404, said["not_found"]
            case TooLarge():
                status, why = 413, said["too_large"]
            case BadRequest():
                status, why = 400, said["invalid"].format(field=self.words.ui.get(refused.field or "", refused.field))
            case _:
                raise refused
        home = f"/{app}/" if app else "/"
        page = self.draw("refused", app, self.words.ui["refused"], home, why=why)
        page.status_code = status
        return page


@cache
def _templates(language: str) -> jinja2.Environment:
    """The templates with a language's words: every world that speaks it has the same, compiled once."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    chosen = words(language)
    templates.globals.update(ui=chosen.ui, words=chosen, apps=APPS, bounds=bounds)
    return templates


def go(to: str) -> Response:
    """The browser goes there."""
    return RedirectResponse(to, 303, headers={"cache-control": "no-store"})


async def _read(request: Request) -> Ask:
    number = int(request.path_params.get("number", 0))
    if request.method != "POST":
        text = request.url.query
    else:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > bounds.SIM_FORM_BYTES_MAX:
                raise TooLarge("form")
        text = body.decode(errors="replace")
    return Ask(request.url.path, number, parse_qs(text, keep_blank_values=True))
