"""Pages of the bank: what there is, transfers, bills, the statement. Money moves behind a page that wants the PIN."""

from __future__ import annotations

import re

from starlette.responses import Response
from starlette.routing import Route

from openmaas.apps.simphone.world.pages.page import Ask, Desk, go
from openmaas.core.errors import FieldInvalid


class BankPages:
    """The application's pages."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.bank = desk.state.bank

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            self.desk.route("/bank/", self.home),
            self.desk.route("/bank/payees", self.payees),
            self.desk.route("/bank/payees", self.add_payee, "POST"),
            self.desk.route("/bank/transfer", self.transfer),
            self.desk.route("/bank/transfer/confirm", self.transfer_pin),
            self.desk.route("/bank/transfer", self.transferred, "POST"),
            self.desk.route("/bank/bills", self.bills),
            self.desk.route("/bank/bills/{number:int}", self.bill),
            self.desk.route("/bank/bills/{number:int}/confirm", self.bill_pin),
            self.desk.route("/bank/bills/{number:int}", self.paid, "POST"),
            self.desk.route("/bank/statement", self.statement),
        ]

    def home(self, ask: Ask) -> Response:
        """The balance, and where to go."""
        return self._draw("bank_home", self.desk.words.apps["bank"], "/")

    def payees(self, ask: Ask) -> Response:
        """Whom one transfers to."""
        return self._draw("bank_payees", self.desk.words.ui["payees"], "/bank/")

    def add_payee(self, ask: Ask) -> Response:
        """A further one."""
        self.bank.add_payee(ask.text("name"), ask.text("account"))
        return go("/bank/payees")

    def transfer(self, ask: Ask) -> Response:
        """To whom, how much, what for."""
        return self._draw("bank_transfer", self.desk.words.ui["transfer"], "/bank/")

    def transfer_pin(self, ask: Ask) -> Response:
        """The PIN, which is the person's alone."""
        payee = self.bank.payees.get(ask.whole("payee"))
        hidden = {"payee": payee.id, "amount": ask.text("amount"), "purpose": ask.text("purpose")}
        return self._pin("/bank/transfer", payee.name, payee.account, _cents(ask), hidden, "/bank/transfer")

    def transferred(self, ask: Ask) -> Response:
        """The money is gone."""
        self.bank.transfer(ask.whole("payee"), _cents(ask), ask.text("purpose"), ask.text("pin"))
        return go("/bank/statement")

    def bills(self, ask: Ask) -> Response:
        """What is to be paid."""
        return self._draw("bank_bills", self.desk.words.ui["bills"], "/bank/")

    def bill(self, ask: Ask) -> Response:
        """One of them."""
        bill = self.bank.bills.get(ask.number)
        return self._draw("bank_bill", bill.name, "/bank/bills", bill=bill)

    def bill_pin(self, ask: Ask) -> Response:
        """The PIN, which is the person's alone."""
        bill = self.bank.bills.get(ask.number)
        here = f"/bank/bills/{bill.id}"
        return self._pin(here, bill.name, "", bill.cents, {}, here)

    def paid(self, ask: Ask) -> Response:
        """It is paid."""
        self.bank.pay(ask.number, ask.text("pin"))
        return go("/bank/bills")

    def statement(self, ask: Ask) -> Response:
        """What came and went, newest first."""
        postings = sorted(self.bank.postings, key=lambda posting: (posting.at, posting.id), reverse=True)
        return self._draw("bank_statement", self.desk.words.ui["statement"], "/bank/", postings=postings)

    def _pin(self, action: str, name: str, account: str, cents: int, hidden: dict[str, object], back: str) -> Response:
        return self._draw(
            "bank_pin",
            self.desk.words.ui["pin"],
            back,
            secure=True,
            action=action,
            name=name,
            account=account,
            cents=cents,
            hidden_fields=hidden,
        )

    def _draw(self, template: str, title: str, back: str, **values: object) -> Response:
        return self.desk.draw(template, "bank", title, back, **values)


def _cents(ask: Ask) -> int:
    """Yuan as people write them, with at most two digits behind the point."""
    found = re.fullmatch(r"[¥￥]?([0-9]{1,9})(?:\.([0-9]{1,2}))?", ask.text("amount"))
    if not found:
        raise FieldInvalid("amount", field="amount")
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
