"""Resource packs: so much of a currency, or so many tokens, for some models and until a day. Sold from the wallet, or
given. What is left when a pack ends is taken out of the books by the poster.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from openmaas.core.bounds import PAGE_SIZE_MAX
from openmaas.core.clock import Clock, iso_utc
from openmaas.core.errors import Conflict, FieldInvalid
from openmaas.core.money import TOKENS, show_amount
from openmaas.ledger.book import find_transfer, own_id, transfer, wallet_id
from openmaas.ledger.law import accounts
from openmaas.ledger.law_sold import packs
from openmaas.ledger.prices import price_in_tokens
from openmaas.ledger.spending.funds import Pack
from openmaas.store.changes import note
from openmaas.store.outbox import announce


def add_pack(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    request_key: str,
    name: str,
    currency: str,
    amount_nanos: int,
    models: tuple[str, ...] | None,
    from_ms: int | None,
    until_ms: int,
    price_nanos: int = 0,
    price_currency: str = "",
) -> Pack:
    """Give an organisation a pack; with ``price_nanos``, sell it from the wallet. The same key twice is one pack.
    ``from_ms`` is now when it is None.

    Raises ``FieldInvalid``, ``FundsMissing``, and ``Conflict`` when the key stands for another pack.
    """
    key = f"pack:{organisation_id}:{request_key}"
    first, bought = find_transfer(tx, key), find_transfer(tx, f"buy:{key}")
    if first is not None:
        row = tx.execute(sa.select(packs).where(packs.c.account_id == first.credit)).mappings().one()
        had = _pack(row)
        began_ms = had.from_ms if from_ms is None else from_ms
        paid = (wallet_id(organisation_id, price_currency), price_nanos) if price_nanos else None
        wanted = Pack(had.account_id, name, models, began_ms, until_ms), currency, amount_nanos, paid
        had_paid = (bought.debit, bought.amount_nanos) if bought else None
        if wanted != (had, first.credit.rpartition(":")[2], first.amount_nanos, had_paid):
            raise Conflict(f"the key {request_key!r} stands for another pack", field="request_key")
        return had
    from_ms = clock.wall_ms() if from_ms is None else from_ms
    if not from_ms < until_ms:
        raise FieldInvalid("until_time must be after from_time", field="until_time")
    account_id = f"pack:{organisation_id}:{clock.new_id('pck').lower()}:{currency}"
    if price_nanos:
        transfer(
            tx,
            clock,
            request_key=f"buy:{key}",
            kind="purchase",
            debit=wallet_id(organisation_id, price_currency),
            credit=own_id("revenue", price_currency),
            amount_nanos=price_nanos,
            memo=name,
        )
    transfer(
        tx,
        clock,
        request_key=key,
        kind="grant",
        debit=own_id("allowance", currency),
        credit=account_id,
        amount_nanos=amount_nanos,
        memo=name,
    )
    made = Pack(account_id, name, models, from_ms, until_ms)
    tx.execute(packs.insert().values(organisation_id=organisation_id, **msgspec.structs.asdict(made)))
    if currency == TOKENS:
        price_in_tokens(tx, models)
    note(tx, "funds", organisation_id)
    told = {"account_id": account_id, "name": name, "amount": show_amount(amount_nanos), "currency": currency}
    announce(tx, clock, organisation_id, "pack.granted", {**told, "until_at": iso_utc(until_ms)})
    return made


def list_packs(tx: sa.Connection, organisation_id: str, *, after: str = "", limit: int) -> list[Pack]:
    """An organisation's packs by their account's id, after ``after``."""
    query = sa.select(packs).where(packs.c.organisation_id == organisation_id, packs.c.account_id > after)
    return [_pack(row) for row in tx.execute(query.order_by(packs.c.account_id).limit(limit)).mappings()]


def end_packs(tx: sa.Connection, clock: Clock) -> int:
    """Take what is left of ended packs out of the books, once no relay leases of them. Returns how many that were."""
    query = (
        sa.select(accounts.c.id, accounts.c.currency, accounts.c.posted_nanos)
        .join(packs, packs.c.account_id == accounts.c.id)
        .where(packs.c.until_ms <= clock.wall_ms(), accounts.c.posted_nanos > 0, accounts.c.leased_nanos == 0)
        .limit(PAGE_SIZE_MAX)
    )
    rows = tx.execute(query).all()
    for row in rows:
        credit, key = (
            own_id("allowance", row.currency),
            f"expiry:{row.id}:{clock.new_id('end')}",
        )  # again, when something came back
        transfer(tx, clock, request_key=key, kind="expiry", debit=row.id, credit=credit, amount_nanos=row.posted_nanos)
    return len(rows)


def _pack(row: sa.RowMapping) -> Pack:
    models = None if row["models"] is None else tuple(row["models"])
    return Pack(row["account_id"], row["name"], models, row["from_ms"], row["until_ms"])
