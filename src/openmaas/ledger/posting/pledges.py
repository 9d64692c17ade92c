"""What is held for hours, and by no relay: a job's hold, in the book itself.

A relay holds from slices that it leases, and its journal says what became of them. A job that is one long piece of work
leases the whole of what it can cost, in one transaction, and is charged in the transaction that ends it: so its holds
and its charge hang on the row of the job, and no program that dies in between leaves anything to settle. Its leases are
those of a journal that has the job's id, no folder and no home. It knows no kind of job; ``jobs/tuning.py`` calls it.
"""

from __future__ import annotations

from functools import partial

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.usage import Usage
from openmaas.ledger.book import find_account
from openmaas.ledger.law import journals
from openmaas.ledger.legs import Leg
from openmaas.ledger.posting.batch import post, retire
from openmaas.ledger.prices import price_book
from openmaas.ledger.spending.holds import Source
from openmaas.ledger.spending.leasing import Step, lease, open_journal
from openmaas.ledger.spending.purse import over, refusal
from openmaas.ledger.writing.records import Closed, Opened

NOWHERE = (1, 0)  #: of the cursor of a journal that has no records


def pledge(tx: sa.Connection, clock: Clock, job_id: str, source: Source) -> Leg:
    """Set the most that a job can cost aside, on all accounts of ``source``. Raises as ``purse`` does when one lacks
    it; then whoever called leaves the transaction, and nothing is held."""
    open_journal(tx, job_id, "", clock.wall_ms())
    worst = source.worst_nanos
    for bound in source.bounds:
        whole = partial(lease, least_nanos=worst, wish_nanos=worst, share=1, fill=bound.fill)
        granted = whole(tx, clock, bound.account_id, Step(job_id, 1))
        if granted < worst:
            account = find_account(tx, bound.account_id)
            if bound.fill is not None and worst > bound.fill.amount_nanos:
                raise over(account, worst, bound.fill.amount_nanos)
            raise refusal(account, worst, account.free_nanos + granted, None)
    return Leg(source.account_ids, source.currency, source.price_version, worst)


def settle(tx: sa.Connection, clock: Clock, opened: Opened, usage: Usage, outcome: str) -> None:
    """Charge what a job used, with a receipt, and give the rest of its hold back. ``opened`` is under the job's id.
    What was written off meanwhile is charged no more."""
    if not pledged(tx, opened.job_id):
        return
    paid, excess = price_book(tx).bill(opened.legs, usage, opened.opened_ms, batch=opened.batch)
    closed = Closed(opened, clock.wall_ms(), 0, outcome, usage, paid, excess)
    post(tx, clock, opened.job_id, [closed], cursor=NOWHERE, floor=NOWHERE)
    retire(tx, opened.job_id)


def release(tx: sa.Connection, job_id: str) -> None:
    """Give a job's hold back, when it has one; nothing is charged."""
    if pledged(tx, job_id):
        retire(tx, job_id)


def pledged(tx: sa.Connection, job_id: str) -> bool:
    """Whether a job holds anything."""
    return tx.execute(sa.select(journals.c.state).where(journals.c.id == job_id)).scalar() == "open"
