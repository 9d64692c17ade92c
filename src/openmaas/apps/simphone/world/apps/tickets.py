"""Tickets for trains, flights and films: offers with seats, those who travel, and bookings.

A train or a plane sells places of a class to people by name; a cinema sells seats by their number and asks no names.
"""

from __future__ import annotations

from datetime import date, datetime

import msgspec

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need
from openmaas.core import bounds

KINDS = ("train", "flight", "film")


class Seat(msgspec.Struct, frozen=True):
    """A class of places, or one seat of a cinema, and how many are left."""

    name: str
    cents: int
    left: int


class Offer(Record, frozen=True):
    """A train, a flight or a showing. ``code`` is a number or a film's title; a film is shown at its ``origin``."""

    kind: str
    code: str
    origin: str
    destination: str
    starts: datetime
    minutes: int
    seats: tuple[Seat, ...]


class Passenger(Record, frozen=True):
    """Somebody who may travel."""

    name: str


class Booking(Record, frozen=True):
    """What was bought."""

    kind: str
    code: str
    origin: str
    destination: str
    starts: datetime
    seats: tuple[str, ...]
    passengers: tuple[str, ...]
    cents: int
    status: str = "paid"  # paid or cancelled


class Tickets:
    """The application and what its customer booked."""

    def __init__(self, diary: Diary) -> None:
        self.offers: Table[Offer] = Table()
        self.passengers: Table[Passenger] = Table()
        self.bookings: Table[Booking] = Table()
        self._diary = diary

    def search(self, kind: str, origin: str, destination: str, day: date) -> list[Offer]:
        """Offers of a day by the time they start; an empty place stands for any."""
        found = (
            offer
            for offer in self.offers
            if offer.kind == kind
            and offer.starts.date() == day
            and origin in ("", offer.origin)
            and destination in ("", offer.destination)
        )
        return sorted(found, key=lambda offer: (offer.starts, offer.id))

    def quote(self, offer_id: int, seats: tuple[str, ...], passengers: tuple[str, ...]) -> Booking:
        """What such a booking would be; refused when the places are gone."""
        offer = self.offers.get(offer_id)
        chosen = [seat for seat in offer.seats if seat.name in seats]
        need(chosen and len(chosen) == len(seats) <= bounds.SIM_COUNT_MAX, "choose_seat")
        if offer.kind == "film":
            tickets = 1  # of each seat
        else:
            known = {each.name for each in self.passengers}
            need(len(seats) == 1, "choose_seat")
            need(passengers and set(passengers) <= known, "choose_passenger")
            tickets = len(passengers)
        need(all(seat.left >= tickets for seat in chosen), "sold_out")
        return Booking(
            kind=offer.kind,
            code=offer.code,
            origin=offer.origin,
            destination=offer.destination,
            starts=offer.starts,
            seats=tuple(seat.name for seat in chosen),
            passengers=() if offer.kind == "film" else passengers,
            cents=sum(seat.cents for seat in chosen) * tickets,
        )

    def book(self, offer_id: int, seats: tuple[str, ...], passengers: tuple[str, ...]) -> Booking:
        """Pay for it."""
        booking = self.bookings.add(self.quote(offer_id, seats, passengers))
        taken = max(1, len(booking.passengers))
        self.offers.change(
            offer_id,
            seats=tuple(
                msgspec.structs.replace(seat, left=seat.left - taken) if seat.name in booking.seats else seat
                for seat in self.offers.get(offer_id).seats
            ),
        )
        self._diary.tell("tickets", "book", booking)
        return booking

    def cancel(self, booking_id: int) -> None:
        """Give it back."""
        need(self.bookings.get(booking_id).status == "paid", "too_late")
        self._diary.tell("tickets", "cancel", self.bookings.change(booking_id, status="cancelled"))
