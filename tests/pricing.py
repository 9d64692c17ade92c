"""A part of the whole ledger's state machine: prices that change or were wrong, and what each request costs by them.

The model knows every version that was set, what each account must have paid of each request, and each correction that
re-rating must book, or must leave because it is dearer and nobody asked or has the funds.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import NamedTuple

import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import rule

from openmaas.core.terms import Band, Terms, flat
from openmaas.core.usage import Usage
from openmaas.ledger.book import list_accounts
from openmaas.ledger.law import accounts, charges, prices, receipts, returns, transfers
from openmaas.ledger.legs import Leg
from openmaas.ledger.papers.rerating import Period, rerate
from openmaas.ledger.prices import ONE_FOR_ONE, set_price
from openmaas.ledger.writing.records import Opened
from till import HOUR_MS, Till

#: Nano-units for a million tokens; one token is a thousand.
PRICE = 10**9
#: Receipts that are priced again in one transaction: few, so that there are several.
BATCH = 3
EVER = 10**5  # hours
CURRENCIES = ("CNY", "credits", "tokens")

changes = st.tuples(st.sampled_from("ab"), st.integers(0, 4), st.sampled_from([0, 1, EVER, EVER]))


class Version(NamedTuple):
    """A price as it was set; the greatest that has begun counts."""

    contract: bool
    from_ms: int
    version: int
    model: str
    currency: str


class Pricing(Till):
    """Two models, priced in money, credits and tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch.setattr("openmaas.ledger.papers.rerating.RERATE_BATCH", BATCH)
        self.opened: dict[str, Opened] = {}
        self.used: dict[str, Usage] = {}  # of what has ended
        self.bills: dict[str, dict[str, int]] = {}  # of the same, by account
        self.corrected: Counter[tuple[str, str]] = Counter()  # what came back, by request and account
        self.terms: dict[int, Terms] = {}
        self.versions: list[Version] = []
        for model, extra in (("a", ()), ("b", (Band(2 * PRICE, PRICE, 3 * PRICE, input_from=1_000),))):
            base = flat(PRICE, 2 * PRICE, PRICE // 2 + 1)
            for currency in ("CNY", "credits"):
                self.price(model, currency, Terms(base.bands + extra, units={"call": 300 * PRICE + 1}), 0)

    def price(self, model: str, currency: str, terms: Terms, from_ms: int, contract: bool = False) -> None:
        fields = {"model": model, "currency": currency, "organisation_id": "org" if contract else ""}
        made = self.world.database.call(set_price, terms=terms, from_ms=from_ms, **fields)
        self.terms[made.version] = terms
        self.versions.append(Version(contract, from_ms, made.version, model, currency))
        self.knows_prices()

    def knows_prices(self) -> None:
        """A pack gives models a price in tokens, one for one."""
        for row in self.look(sa.select(prices).where(prices.c.version.not_in(list(self.terms)))):
            assert (row.currency, row.from_ms) == ("tokens", 0)
            self.terms[row.version] = ONE_FOR_ONE
            self.versions.append(Version(False, 0, row.version, row.model, row.currency))

    @rule(change=changes, currency=st.sampled_from(CURRENCIES), contract=st.booleans())
    def sets_a_price(self, change: tuple[str, int, int], currency: str, contract: bool) -> None:
        """From now on, or for what is over already."""
        model, factor, hours = change
        unit = 10**6 if currency == "tokens" else 1  # a token of a pack is a whole unit
        terms = flat(factor * PRICE * unit // 2, (factor * PRICE + 1) * unit)
        self.price(model, currency, terms, max(0, self.world.now_ms - hours * HOUR_MS), contract)

    @rule(
        model=st.sampled_from("ab"),
        since=st.sampled_from([1, EVER, EVER, EVER]),
        until=st.sampled_from([-1, 1, 1, 1]),
        surcharge=st.booleans(),
    )
    def a_period_is_priced_again(self, model: str, since: int, until: int, surcharge: bool) -> None:
        """Twice: the second time there is nothing to move."""
        since_ms = max(0, self.world.now_ms - since * HOUR_MS)
        period = Period(model, since_ms, self.world.now_ms + until * HOUR_MS)
        for _ in range(2):
            before, wanted = self.moved(), self.corrections(period, surcharge=surcharge)
            rerate(self.world.database, self.world.clock, period, surcharge=surcharge, dry_run=False)
            assert self.moved() - before == wanted

    def corrections(self, period: Period, *, surcharge: bool) -> Counter[tuple[str, bool, int]]:
        """Every correcting transfer that must come: its account, whether it gives, and how much; noted as booked."""
        posted = {row.request_id for row in self.look(sa.select(receipts.c.request_id))}
        free = {account.id: account.free_nanos for account in self.world.database.look(list_accounts)}
        mine = [each for each in self.opened.values() if each.model == period.model and each.request_id in posted]
        mine = [each for each in mine if period.since_ms <= each.opened_ms < period.until_ms]
        mine.sort(key=lambda each: (each.opened_ms, each.request_id))
        wanted: Counter[tuple[str, bool, int]] = Counter()
        for at in range(0, len(mine), BATCH):
            given: Counter[str] = Counter()
            taken: Counter[str] = Counter()
            for request_id, changes in (
                (each.request_id, leg) for each in mine[at : at + BATCH] for leg in self.differs(each)
            ):
                if any(change < 0 for change in changes.values()):
                    if not surcharge or any(free[name] - taken[name] + changes[name] < 0 for name in changes):
                        continue
                    taken.subtract(changes)
                else:
                    given.update(changes)
                for account_id, change in changes.items():
                    self.corrected[request_id, account_id] += change
            wanted.update((name, True, nanos) for name, nanos in given.items())
            wanted.update((name, False, nanos) for name, nanos in taken.items())
            free = {name: nanos + given[name] - taken[name] for name, nanos in free.items()}
        return wanted

    def differs(self, opened: Opened) -> list[dict[str, int]]:
        """By leg: what each account has paid more (or less) than it must by the prices that count now."""
        versions = [self.counts(opened, leg) for leg in opened.legs]
        due, left = self.bill(opened, versions), self.came_back(opened.request_id)
        had = self.paid(opened.request_id)
        return [
            {
                name: change
                for name in leg.accounts
                if (change := had[name] - self.corrected[opened.request_id, name] - nanos) and name not in left
            }
            for leg, nanos in zip(opened.legs, due, strict=True)
        ]

    def counts(self, opened: Opened, leg: Leg) -> int:
        """The version that counts for a leg: a contract before the list, of these the last that has begun."""
        ours = [each for each in self.versions if (each.model, each.currency) == (opened.model, leg.currency)]
        return max(each for each in ours if each.from_ms <= opened.opened_ms).version

    def paid(self, request_id: str) -> dict[str, int]:
        """What each account must have paid of a request when it ended: by the prices of which it was opened."""
        if request_id not in self.bills:
            legs = self.opened[request_id].legs
            paid = self.bill(self.opened[request_id], [leg.price_version for leg in legs])
            named = zip(legs, paid, strict=True)
            self.bills[request_id] = {name: nanos for leg, nanos in named for name in leg.accounts}
        return self.bills[request_id]

    def bill(self, opened: Opened, versions: list[int]) -> list[int]:
        """What each leg pays: what it holds, of the part of the request that the legs before have left."""
        rest, paid = Fraction(1), []
        for leg, version in zip(opened.legs, versions, strict=True):
            due = half_up(cost_of(self.terms[version], self.used[opened.request_id]) * rest)
            paid.append(min(due, leg.hold_nanos))
            rest *= Fraction(due - paid[-1], due) if due else 0
        return paid

    def came_back(self, request_id: str) -> set[str]:
        """Rolling windows that a request is over for: they got back what it took, if it took anything."""
        waits = sa.select(returns.c.transfer_id)
        query = sa.select(accounts.c.id).join(charges, charges.c.account_id == accounts.c.id)
        gone = charges.c.transfer_id.is_(None) | charges.c.transfer_id.not_in(waits)
        found = self.look(query.where(charges.c.request_id == request_id, accounts.c.returns_after_ms > 0, gone))
        return {row.id for row in found}

    def moved(self) -> Counter[tuple[str, bool, int]]:
        """The correcting transfers so far."""
        own, found = ("revenue:", "counted:"), Counter[tuple[str, bool, int]]()
        for row in self.look(sa.select(transfers).where(transfers.c.kind == "correction")):
            gives = row.debit.startswith(own)
            found[row.credit if gives else row.debit, gives, row.amount_nanos] += 1
        return found


def cost_of(terms: Terms, usage: Usage) -> int:
    """What a request costs, as a receipt explains it: three lines and one a unit, each rounded half up."""
    fits = [b for b in terms.bands if b.input_from <= usage.prompt_tokens and b.output_from <= usage.completion_tokens]
    lines = (
        (usage.prompt_tokens - usage.cached_tokens, fits[-1].input_nanos),
        (usage.cached_tokens, fits[-1].cached_nanos),
        (usage.completion_tokens, fits[-1].output_nanos),
        *((count, terms.units.get(unit, 0)) for unit, count in usage.units),
    )
    return sum(half_up(Fraction(units * price, 10**6)) for units, price in lines)


def half_up(number: Fraction) -> int:
    return int(number + Fraction(1, 2))
