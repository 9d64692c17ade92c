"""A bank: one account, people to transfer to, bills, and a PIN that only the person knows.

Nothing leaves the account without the PIN, and after too many wrong ones nothing leaves it at all.
"""

from __future__ import annotations

from datetime import datetime

from openmaas.apps.simphone.world.apps.table import Diary, Record, Table, need
from openmaas.core import bounds


class Payee(Record, frozen=True):
    """Somebody to transfer to."""

    name: str
    account: str


class Bill(Record, frozen=True):
    """Something to be paid until a day."""

    name: str
    cents: int
    due: datetime
    paid: bool = False


class Posting(Record, frozen=True):
    """A line of the statement: below zero went out."""

    name: str
    account: str
    cents: int
    note: str
    at: datetime


class Bank:
    """The application and the account."""

    def __init__(self, diary: Diary, pin: str) -> None:
        self.payees: Table[Payee] = Table()
        self.bills: Table[Bill] = Table()
        self.postings: Table[Posting] = Table()
        self._pin = pin
        self._wrong = 0
        self._diary = diary

    @property
    def balance_cents(self) -> int:
        """What there is."""
        return sum(posting.cents for posting in self.postings)

    def add_payee(self, name: str, account: str) -> Payee:
        """A further one; nothing is paid yet."""
        need(name and account, "empty")
        payee = self.payees.add(Payee(name=name, account=account))
        self._diary.tell("bank", "add_payee", payee)
        return payee

    def transfer(self, payee_id: int, cents: int, note: str, pin: str) -> Posting:
        """Money to somebody."""
        payee = self.payees.get(payee_id)
        need(0 < cents <= self.balance_cents, "amount")
        self._check(pin)
        return self._post(payee.name, payee.account, cents, note)

    def pay(self, bill_id: int, pin: str) -> Posting:
        """A bill."""
        bill = self.bills.get(bill_id)
        need(not bill.paid, "paid_already")
        need(bill.cents <= self.balance_cents, "amount")
        self._check(pin)
        self.bills.change(bill_id, paid=True)
        return self._post(bill.name, "", bill.cents, "")

    def _post(self, name: str, account: str, cents: int, note: str) -> Posting:
        posting = Posting(name=name, account=account, cents=-cents, note=note, at=self._diary.now)
        posting = self.postings.add(posting)
        self._diary.tell("bank", "pay", posting)
        return posting

    def _check(self, pin: str) -> None:
        need(self._wrong < bounds.SIM_PINS_WRONG_MAX, "locked")
        if pin != self._pin:
            self._wrong += 1
        need(pin == self._pin, "wrong_pin")
        self._wrong = 0
