"""All that a world keeps: eight applications, their offers to join, one diary. Plain values, and no page.

``tables`` is what a judge reads: what it says at the end, held against what it said at the beginning, is what happened.
"""

from __future__ import annotations

from collections.abc import Mapping

from openmaas.apps.simphone.world.apps.bank import Bank
from openmaas.apps.simphone.world.apps.calendar import Calendar
from openmaas.apps.simphone.world.apps.chat import Chat
from openmaas.apps.simphone.world.apps.mail import Mail
from openmaas.apps.simphone.world.apps.notes import Notes
from openmaas.apps.simphone.world.apps.store import Store
from openmaas.apps.simphone.world.apps.table import Diary, Record, Table
from openmaas.apps.simphone.world.apps.tickets import Tickets
from openmaas.apps.simphone.world.wording import Plot
from openmaas.core import bounds

#: Each application by its name in addresses, in the order in which the home page has them.
APPS = ("delivery", "tickets", "chat", "mail", "notes", "calendar", "shop", "bank")
#: What leaves a mark without being an act of consequence: it counts only where a task asks for it.
LIGHT = frozenset({"chat.unread", "mail.seen", "delivery.cart", "shop.cart"})

#: The records of each table, by number.
Snapshot = Mapping[str, Mapping[int, Record]]


class Membership(Record, frozen=True):
    """What a pop-up offered and somebody took: so much a month."""

    app: str
    cents: int


class State:
    """A world's state, empty until it is seeded. ``popups`` has the applications that are about to offer something."""

    def __init__(self, plot: Plot, diary: Diary) -> None:
        self.plot = plot
        self.diary = diary
        self.delivery = Store("delivery", diary, one_section=True)
        self.tickets = Tickets(diary)
        self.chat = Chat(diary)
        self.mail = Mail(diary)
        self.notes = Notes(diary)
        self.calendar = Calendar(diary)
        self.shop = Store("shop", diary, password=str(plot["password"]))
        self.bank = Bank(diary, str(plot["pin"]))
        self.memberships: Table[Membership] = Table()
        self.popups: set[str] = set()

    def join(self, app: str) -> None:
        """Take what the pop-up offers."""
        if app in self.popups:
            self.popups.discard(app)
            joined = self.memberships.add(Membership(app=app, cents=bounds.SIM_MEMBERSHIP_CENTS))
            self.diary.tell(app, "join", joined)

    def close_popup(self, app: str) -> None:
        """Do not."""
        self.popups.discard(app)

    def tables(self) -> Snapshot:
        """Every table that may change by what its owner does, as it is now."""
        return {
            **{
                f"{store.name}.{name}": table.copy()
                for store in (self.delivery, self.shop)
                for name, table in (("cart", store.cart), ("addresses", store.addresses), ("orders", store.orders))
            },
            "tickets.bookings": self.tickets.bookings.copy(),
            "chat.messages": self.chat.messages.copy(),
            "chat.unread": self.chat.unread.copy(),
            "mail.letters": self.mail.letters.copy(),
            "mail.seen": self.mail.seen.copy(),
            "notes.notes": self.notes.notes.copy(),
            "calendar.entries": self.calendar.entries.copy(),
            "bank.payees": self.bank.payees.copy(),
            "bank.bills": self.bank.bills.copy(),
            "bank.postings": self.bank.postings.copy(),
            "memberships": self.memberships.copy(),
        }
