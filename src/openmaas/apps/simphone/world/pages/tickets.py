"""Pages of the tickets: what to look for, what was found, seats and passengers, a confirmation, what is booked."""

from __future__ import annotations

from datetime import date, timedelta

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.apps.tickets import KINDS
from openmaas.apps.simphone.world.pages.page import Ask, Desk, go
from openmaas.apps.simphone.world.seeding.markets import DAYS
from openmaas.core.errors import FieldInvalid


class TicketsPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.tickets = desk.state.tickets

    def routes(self) -> list[Route]:
        """Their addresses."""
        route = self.desk.route
        return [
            route("/tickets/", self.home),
            route("/tickets/search", self.search),
            route("/tickets/found", self.found),
            route("/tickets/offer/{number:int}", self.offer),
            route("/tickets/confirm", self.confirm),
            route("/tickets/book", self.book, "POST"),
            route("/tickets/bookings", self.bookings),
            route("/tickets/bookings/{number:int}", self.booking),
            route("/tickets/bookings/{number:int}/cancel", self.cancel),
            route("/tickets/bookings/{number:int}/cancel", self.cancelled, "POST"),
        ]

    def home(self, ask: Ask) -> Response:
        """Trains, flights, films; what is booked."""
        return self._draw("tickets_home", self.desk.words.apps["tickets"], "/", kinds=KINDS)

    def search(self, ask: Ask) -> Response:
        """From where to where and when; for a film, when."""
        kind = self._kind(ask)
        today = self.desk.state.diary.now.date()
        offers = [offer for offer in self.tickets.offers if offer.kind == kind]
        return self._draw(
            "tickets_search",
            self.desk.words.ui[kind],
            "/tickets/",
            kind=kind,
            origins=list(dict.fromkeys(offer.origin for offer in offers)),
            destinations=list(dict.fromkeys(offer.destination for offer in offers)),
            days=[today + timedelta(days=number) for number in range(1, DAYS + 1)],
        )

    def found(self, ask: Ask) -> Response:
        """What there is on that day."""
        kind = self._kind(ask)
        try:
            day = date.fromisoformat(ask.text("day"))
        except ValueError:
            raise FieldInvalid("date", field="date") from None
        offers = self.tickets.search(kind, ask.text("origin"), ask.text("destination"), day)
        back = f"/tickets/search?kind={kind}"
        return self._draw("tickets_found", self.desk.words.date(day), back, kind=kind, offers=offers)

    def offer(self, ask: Ask) -> Response:
        """Seats of one of them, and who travels."""
        offer = self.tickets.offers.get(ask.number)
        return self._draw("tickets_offer", offer.code, f"/tickets/search?kind={offer.kind}", offer=offer)

    def confirm(self, ask: Ask) -> Response:
        """All of it once more before money moves."""
        offer = self.tickets.offers.get(ask.whole("offer"))
        quote = self.tickets.quote(offer.id, ask.many("seat"), ask.many("passenger"))
        title, back = self.desk.words.ui["confirm"], f"/tickets/offer/{offer.id}"
        return self._draw("tickets_confirm", title, back, offer=offer, booking=quote)

    def book(self, ask: Ask) -> Response:
        """It is booked."""
        booking = self.tickets.book(ask.whole("offer"), ask.many("seat"), ask.many("passenger"))
        return go(f"/tickets/bookings/{booking.id}")

    def bookings(self, ask: Ask) -> Response:
        """All that is booked."""
        bookings = sorted(self.tickets.bookings, key=lambda each: each.starts)
        return self._draw("tickets_bookings", self.desk.words.ui["bookings"], "/tickets/", bookings=bookings)

    def booking(self, ask: Ask) -> Response:
        """One of them."""
        booking = self.tickets.bookings.get(ask.number)
        return self._draw("tickets_booking", self.desk.words.ui["booking"], "/tickets/bookings", booking=booking)

    def cancel(self, ask: Ask) -> Response:
        """Asked once more."""
        here, ui = f"/tickets/bookings/{self.tickets.bookings.get(ask.number).id}", self.desk.words.ui
        return self._draw(
            "sure",
            ui["sure"],
            here,
            action=f"{here}/cancel",
            why=ui["sure_cancel"],
            yes=ui["yes_cancel"],
            no=ui["keep"],
        )

    def cancelled(self, ask: Ask) -> Response:
        """It is given back."""
        self.tickets.cancel(ask.number)
        return go(f"/tickets/bookings/{ask.number}")

    def _kind(self, ask: Ask) -> str:
        kind = ask.text("kind")
        if kind not in KINDS:
            raise FieldInvalid("kind", field="kind")
        return kind

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "tickets", title, back, **values)
