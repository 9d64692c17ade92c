"""Pages of the calendar: a month, a day, and an entry to be written."""

from __future__ import annotations

import calendar
from datetime import date, datetime, time, timedelta

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.apps.calendar import REMINDERS, Entry
from openmaas.apps.simphone.world.pages.page import Ask, Desk, go
from openmaas.core.errors import FieldInvalid


class CalendarPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.calendar = desk.state.calendar

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            self.desk.route("/calendar/", self.month),
            self.desk.route("/calendar/day", self.day),
            self.desk.route("/calendar/new", self.new),
            self.desk.route("/calendar/new", self.create, "POST"),
            self.desk.route("/calendar/{number:int}", self.entry),
            self.desk.route("/calendar/{number:int}", self.edit, "POST"),
            self.desk.route("/calendar/{number:int}/delete", self.sure),
            self.desk.route("/calendar/{number:int}/delete", self.delete, "POST"),
        ]

    def month(self, ask: Ask) -> Response:
        """A month's days, each with how much is planned; its arrows go to the months beside it."""
        today = self.desk.state.diary.now.date()
        first = _day(ask.text("day") or today.isoformat()).replace(day=1)
        weeks = calendar.Calendar().monthdatescalendar(first.year, first.month)
        return self._draw(
            "calendar_month",
            self.desk.words.apps["calendar"],
            "/",
            first=first,
            today=today,
            before=(first - timedelta(days=1)).replace(day=1),
            after=(first + timedelta(days=31)).replace(day=1),
            weeks=[[(day, len(self.calendar.day(day))) for day in week] for week in weeks],
            soon=sorted((e for e in self.calendar.entries if e.starts.date() >= today), key=lambda e: e.starts),
        )

    def day(self, ask: Ask) -> Response:
        """What is planned on one."""
        day = _day(ask.text("day"))
        back = f"/calendar/?day={day}"
        return self._draw("calendar_day", self.desk.words.date(day), back, day=day, entries=self.calendar.day(day))

    def new(self, ask: Ask) -> Response:
        """An empty entry."""
        day = _day(ask.text("day") or self.desk.state.diary.now.date().isoformat())
        title, back = self.desk.words.ui["new_entry"], f"/calendar/day?day={day}"
        return self._draw("calendar_entry", title, back, entry=None, day=day, reminders=REMINDERS)

    def create(self, ask: Ask) -> Response:
        """Keep it."""
        entry = self.calendar.create(self._written(ask))
        return go(f"/calendar/day?day={entry.starts.date()}")

    def entry(self, ask: Ask) -> Response:
        """One entry."""
        entry = self.calendar.entries.get(ask.number)
        day = entry.starts.date()
        back = f"/calendar/day?day={day}"
        return self._draw("calendar_entry", entry.title, back, entry=entry, day=day, reminders=REMINDERS)

    def edit(self, ask: Ask) -> Response:
        """Keep it as it is now."""
        entry = self._written(ask)
        self.calendar.edit(ask.number, entry)
        return go(f"/calendar/day?day={entry.starts.date()}")

    def sure(self, ask: Ask) -> Response:
        """Asked once more."""
        entry, ui = self.calendar.entries.get(ask.number), self.desk.words.ui
        here = f"/calendar/{entry.id}"
        return self._draw(
            "sure", entry.title, here, action=f"{here}/delete", why=ui["sure_delete"], yes=ui["delete"], no=ui["keep"]
        )

    def delete(self, ask: Ask) -> Response:
        """Away with it."""
        day = self.calendar.entries.get(ask.number).starts.date()
        self.calendar.delete(ask.number)
        return go(f"/calendar/day?day={day}")

    def _written(self, ask: Ask) -> Entry:
        zone = self.desk.state.diary.now.tzinfo
        try:
            at = time.fromisoformat(ask.text("time")).replace(second=0, microsecond=0, tzinfo=None)
        except ValueError:
            raise FieldInvalid("time", field="time") from None
        return Entry(
            title=ask.text("title"),
            starts=datetime.combine(_day(ask.text("date")), at, zone),
            place=ask.text("place"),
            reminder_minutes=ask.whole("reminder"),
        )

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "calendar", title, back, **values)


def _day(text: str) -> date:
    """A day of a year that has neighbours on every side."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise FieldInvalid("date", field="date") from None
    if not 1970 <= day.year <= 2999:
        raise FieldInvalid("date", field="date")
    return day
