"""The till of the whole ledger's state machine: money that comes in and goes out, and commands that are sent again.

``balance`` is the plain model: what the wallet (and, for what stands on it, each pack) had without charges and their
corrections. ``pending`` is what refunds have taken and not yet paid out.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from openmaas.core.errors import Conflict, FundsMissing
from openmaas.ledger.book import find_account, top_up, wallet_id
from openmaas.ledger.law import accounts
from openmaas.ledger.selling.orders import Payment, add_order, pay_order
from openmaas.ledger.selling.payers import set_credit
from openmaas.ledger.selling.refunds import credit_note, end_refund, refund
from openmaas.ledger.selling.vouchers import end_batch, issue, redeem
from whole import SHORT, World

WALLET = wallet_id("org", "CNY")
START_MS = round(datetime(2027, 1, 31, 10, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000

pick = st.integers(0, 10**6)  # taken modulo what there is: a step never depends on how the one before ended
money = st.sampled_from([1, 99_999, 10**6, 10**7])


class Till(RuleBasedStateMachine):
    """One organisation's wallet, and its operator. Every command has a key; ``done`` keeps those that were done."""

    store = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for name, value in SHORT.items():
            self.patch.setattr(name, value)
        self.world = World(self.store, Path(tempfile.mkdtemp()), START_MS)
        self.balance: dict[str, int] = defaultdict(int)
        self.pending: dict[str, int] = {}
        self.codes: dict[str, tuple[str, int, int]] = {}  # of vouchers: their batch, amount and last moment
        self.over: set[str] = set()  # batches that were ended
        self.redeemed: set[str] = set()  # codes that were redeemed
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], str]] = []

    def call(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        return self.world.database.call(book, self.world.clock, *args, **kwargs)

    def look(self, query: Any) -> Any:
        return self.world.database.look(lambda tx: tx.execute(query).all())

    def once(self, book: Any, *args: Any, **kwargs: Any) -> Any:
        """A command of the organisation with a key of its own; from now on it may come again."""
        kwargs["request_key"] = self.world.clock.new_id("key")
        made = self.call(book, "org", *args, **kwargs)
        self.done.append((book, ("org", *args), kwargs, name_of(made)))
        return made

    @rule(which=pick, other=st.booleans())
    def a_command_comes_again(self, which: int, other: bool) -> None:
        """It changes nothing and says what it said; with another amount it is a conflict."""
        if self.done:
            book, args, kwargs, made = self.done[which % len(self.done)]
            if other and "amount_nanos" in kwargs:
                with pytest.raises(Conflict):
                    self.call(book, *args, **kwargs | {"amount_nanos": kwargs["amount_nanos"] + 1})
            else:
                assert name_of(self.call(book, *args, **kwargs)) == made

    @rule(nanos=money, book=st.sampled_from([top_up, credit_note]))
    def gets_money(self, nanos: int, book: Any) -> None:
        self.once(book, currency="CNY", amount_nanos=nanos, memo="")
        self.balance[WALLET] += nanos

    @rule(nanos=money, less=st.sampled_from([0, 0, 0, 1]))
    def pays_an_order(self, nanos: int, less: int) -> None:
        """What came in is what was ordered, or books nothing."""
        order = self.once(add_order, currency="CNY", amount_nanos=nanos, channel="bank")
        payment = Payment(self.world.clock.new_id("pay"), "bank", "CNY", nanos - less)
        if less:
            with pytest.raises(Conflict):
                self.call(pay_order, order.id, payment)
        else:
            assert self.call(pay_order, order.id, payment) == self.call(pay_order, order.id, payment)
            self.balance[WALLET] += nanos

    @rule(nanos=money, count=st.integers(1, 3), hours=st.sampled_from([1, 1_000]))
    def vouchers_are_issued(self, nanos: int, count: int, hours: int) -> None:
        until_ms = self.world.now_ms + hours * HOUR_MS
        fields = {"amount_nanos": nanos, "count": count, "expires_ms": until_ms}
        key = self.world.clock.new_id("key")
        batch, codes = self.call(issue, currency="CNY", **fields, request_key=key, memo="")
        assert self.call(issue, currency="CNY", **fields, request_key=key, memo="") == (batch, [])
        self.codes |= dict.fromkeys(codes, (batch.id, nanos, until_ms))

    @rule(which=pick)
    def a_voucher_is_redeemed(self, which: int) -> None:
        """Once; whoever has it may say so again."""
        if self.codes:
            code = list(self.codes)[which % len(self.codes)]
            batch_id, nanos, until_ms = self.codes[code]
            if code not in self.redeemed and (batch_id in self.over or until_ms <= self.world.now_ms):
                with pytest.raises(Conflict):
                    self.call(redeem, "org", code)
                return
            assert self.call(redeem, "org", code) == self.call(redeem, "org", code)
            self.balance[WALLET] += 0 if code in self.redeemed else nanos
            self.redeemed.add(code)

    @rule(which=pick)
    def vouchers_are_taken_back(self, which: int) -> None:
        if self.codes:
            batch_id, *_ = self.codes[list(self.codes)[which % len(self.codes)]]
            self.call(end_batch, batch_id)
            self.over.add(batch_id)

    @rule(nanos=money)
    def begins_a_refund(self, nanos: int) -> None:
        """Of what is neither leased nor pending nor lent."""
        had = self.account(WALLET)
        try:
            made = self.once(refund, currency="CNY", amount_nanos=nanos, memo="")
        except FundsMissing:
            assert nanos > had.posted_nanos - had.pending_nanos - had.leased_nanos
        else:
            assert nanos <= had.posted_nanos - had.pending_nanos - had.leased_nanos
            self.pending[made.id] = nanos

    @rule(which=pick, post=st.booleans())
    def ends_a_refund(self, which: int, post: bool) -> None:
        if self.pending:
            refund_id = list(self.pending)[which % len(self.pending)]
            nanos = self.pending.pop(refund_id)
            assert self.call(end_refund, refund_id, post=post) == self.call(end_refund, refund_id, post=post)
            with pytest.raises(Conflict):
                self.call(end_refund, refund_id, post=not post)
            self.balance[WALLET] -= nanos if post else 0

    @rule(nanos=st.integers(0, 5 * 10**6))
    def sets_a_credit_line(self, nanos: int) -> None:
        """It can be lowered to what is used of it or leased, and no further."""
        had = self.account(WALLET)
        fits = had.free_nanos - had.credit_nanos + nanos >= 0
        try:
            self.world.database.call(set_credit, "org", currency="CNY", credit_nanos=nanos)
        except Conflict:
            assert not fits
        else:
            assert fits

    def account(self, account_id: str) -> Any:
        """As it stands in the books."""
        return self.world.database.look(find_account, account_id)

    @invariant()
    def refunds_are_pending_or_over(self) -> None:
        (row,) = self.look(sa.select(accounts.c.pending_nanos).where(accounts.c.id == WALLET))
        assert row.pending_nanos == sum(self.pending.values())


def name_of(made: Any) -> str:
    """What a command made: its id stays, though the rest of it may change."""
    return str(made.account_id if hasattr(made, "account_id") else made.id)
