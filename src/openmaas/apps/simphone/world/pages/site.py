"""The whole site: the home page, the list of applications, the pop-ups, and the pages of each application."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from openmaas.apps.simphone.world.pages.bank import BankPages
from openmaas.apps.simphone.world.pages.calendar import CalendarPages
from openmaas.apps.simphone.world.pages.chat import ChatPages
from openmaas.apps.simphone.world.pages.mail import MailPages
from openmaas.apps.simphone.world.pages.notes import NotesPages
from openmaas.apps.simphone.world.pages.page import Ask, Desk, go
from openmaas.apps.simphone.world.pages.store import StorePages
from openmaas.apps.simphone.world.pages.tickets import TicketsPages
from openmaas.apps.simphone.world.state import APPS, State
from openmaas.apps.simphone.world.wording import LANGUAGES, Words, words
from openmaas.core.errors import ThingUnknown


def site(state: State, chosen: Words) -> Starlette:
    """An ASGI application that shows this state in these words."""
    desk = Desk(state, chosen)
    routes = [
        desk.route("/", lambda ask: desk.draw("home", "", chosen.ui["phone"], "")),
        desk.route("/popup/join", lambda ask: _popup(desk, ask, join=True), "POST"),
        desk.route("/popup/close", lambda ask: _popup(desk, ask, join=False), "POST"),
        Route("/apps.json", _listed),
    ]
    pages = (
        *(StorePages(desk, state.delivery), TicketsPages(desk), ChatPages(desk), MailPages(desk), NotesPages(desk)),
        *(CalendarPages(desk), StorePages(desk, state.shop), BankPages(desk)),
    )
    for each in pages:
        routes += each.routes()

    async def missing(request: Request, _: Exception) -> Response:
        return desk.refuse(ThingUnknown(request.url.path), "")

    return Starlette(routes=routes, exception_handlers={404: missing, 405: missing, HTTPException: missing})


def _popup(desk: Desk, ask: Ask, *, join: bool) -> Response:
    """Take the offer or not, then on with the application that made it."""
    app = ask.text("app")
    if join:
        desk.state.join(app)
    else:
        desk.state.close_popup(app)
    return go(f"/{app}/" if app in APPS else "/")


async def _listed(_: Request) -> Response:
    """The applications as a device lists them, with their names in each language."""
    named = {language: words(language).apps for language in LANGUAGES}
    return JSONResponse(
        [{"package": f"sim.{app}", "name": {language: named[language][app] for language in LANGUAGES}} for app in APPS]
    )
