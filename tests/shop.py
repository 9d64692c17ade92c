"""A shop without relays: a test sells requests at the prices there are, posts them itself, and prices them again."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.money import MILLION, NANO
from openmaas.core.terms import flat
from openmaas.core.usage import Usage
from openmaas.ledger.audit import audit
from openmaas.ledger.book import find_account, top_up, transfer, wallet_id
from openmaas.ledger.law import transfers
from openmaas.ledger.legs import Leg
from openmaas.ledger.papers.rerating import Outcome, Period, rerate
from openmaas.ledger.posting.batch import post, retire
from openmaas.ledger.prices import price_book, set_price
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.writing.records import Closed, Opened
from servers import new_database

CLOCK = Clock()
WALLET = wallet_id("org", "CNY")
PACK = "pack:org:pck_1:tokens"
CNY = NANO  # of money, and of a million tokens at one for one
ALL = Period("m", 0, 10**12)


class Shop:
    """An organisation with 100 CNY and a pack of a million tokens; ``m`` costs 1 CNY in and 2 CNY out."""

    def __init__(self, store: str, folder: Path) -> None:
        self.folder = folder
        self.database = new_database(store, folder)
        self.database.call(top_up, CLOCK, "org", currency="CNY", amount_nanos=100 * CNY, request_key="1", memo="")
        grant = {"request_key": "g", "kind": "grant", "debit": "allowance:tokens", "credit": PACK}
        self.database.call(transfer, CLOCK, amount_nanos=MILLION * NANO, **grant)
        self.set_price(1, 2)
        one = flat(MILLION * NANO, MILLION * NANO)
        self.database.call(set_price, model="m", currency="tokens", terms=one, from_ms=0)
        self.lives = 0

    def set_price(self, input_: int, output: int) -> None:
        """A version in CNY that counts from the beginning."""
        self.database.call(set_price, model="m", currency="CNY", terms=flat(input_ * CNY, output * CNY), from_ms=0)

    def sell(self, request_id: str, usage: Usage, holds: dict[str | tuple[str, ...], int]) -> None:
        """A request that is held, charged and posted, on these accounts in order."""
        self.sell_many({request_id: 1}, usage, holds)

    def sell_many(self, opened_ms: dict[str, int], usage: Usage, holds: dict[str | tuple[str, ...], int]) -> None:
        """Requests by the moment at which they were opened, posted in one batch."""
        self.lives += 1
        life = f"rly_{self.lives}"
        self.database.call(open_journal, life, "home", 1)
        closed = [self.close(request_id, ms, usage, holds) for request_id, ms in opened_ms.items()]
        for account_id in (name for leg in closed[0].opened.legs for name in leg.accounts):
            nanos = sum(leg.hold_nanos for each in closed for leg in each.opened.legs if account_id in leg.accounts)
            asked = {"least_nanos": nanos, "wish_nanos": nanos, "share": 1}
            self.database.call(lease, CLOCK, account_id, Step(life, 1), **asked)
        self.database.call(post, CLOCK, life, closed, cursor=(1, 0), floor=(1, 0))
        self.database.call(retire, life)

    def close(self, request_id: str, ms: int, usage: Usage, holds: dict[str | tuple[str, ...], int]) -> Closed:
        """What a relay writes of it, by the prices there are."""
        book, legs = self.database.look(price_book), []
        for named, hold in holds.items():
            paying = (named,) if isinstance(named, str) else named
            currency = paying[0].rpartition(":")[2]
            price = book.at("m", ms, currency)
            assert price is not None
            legs.append(Leg(paying, currency, price.version, hold))
        opened = Opened(request_id, ms, "k", "p", "org", "m", "dep", tuple(legs), batch=False)
        paid, excess = book.bill(legs, usage, ms, batch=False)
        return Closed(opened, ms + 1, 1, "done", usage, paid, excess)

    def rerate(self, *, surcharge: bool = False, dry_run: bool = False) -> Outcome:
        """Price everything again; the audit agrees after it."""
        found = rerate(self.database, CLOCK, ALL, surcharge=surcharge, dry_run=dry_run)
        self.agrees()
        return found

    def agrees(self) -> None:
        """Every account, receipt, day and correction says the same."""
        assert self.database.look(audit, self.folder / "journals", {}).disagreements == []

    def has(self, account_id: str) -> int:
        """What is on an account."""
        return self.database.look(find_account, account_id).posted_nanos

    def corrections(self) -> list[int]:
        """What each correction moved."""
        query = sa.select(transfers.c.amount_nanos).where(transfers.c.kind == "correction").order_by(transfers.c.id)
        return list(self.database.look(lambda tx: tx.execute(query).scalars().all()))
