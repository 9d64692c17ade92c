"""Money that goes back: refunds, which leave the house, and credit notes, which return what was charged to the wallet.

A refund is begun, and takes what it needs out of the wallet's free money at once, so that nobody spends what is being
paid out; it ends once the money has left (post), or has not (void). A credit line is never paid out.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import FundsMissing, ThingUnknown
from openmaas.core.money import check_currency, show_amount
from openmaas.ledger.book import Transfer, find_transfer, open_account, own_id, settle, transfer, wallet_id
from openmaas.ledger.law import accounts, transfers


def refund(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    currency: str,
    amount_nanos: int,
    request_key: str,
    memo: str,
) -> Transfer:
    """Begin to pay money of a wallet out; it is pending until ``end_refund``. The same key twice is one refund.

    Raises ``FundsMissing`` when less is there that is neither leased nor pending nor lent, and as ``transfer``.
    """
    key, wallet = f"refund:{organisation_id}:{request_key}", wallet_id(organisation_id, check_currency(currency))
    if find_transfer(tx, key) is None:
        account = open_account(tx, wallet)
        missing = amount_nanos - (account.free_nanos - account.credit_nanos)
        if missing > 0:
            raise FundsMissing(f"{show_amount(missing, currency)} is missing", field="amount")
    return transfer(
        tx,
        clock,
        request_key=key,
        kind="refund",
        debit=wallet,
        credit=own_id("funding", currency),
        amount_nanos=amount_nanos,
        memo=memo,
        pending=True,
    )


def end_refund(tx: sa.Connection, clock: Clock, refund_id: str, *, post: bool) -> Transfer:
    """The money has left (``post``) or will not. The same again is no error; raises ``ThingUnknown``, and ``Conflict``
    for the opposite."""
    kind = tx.execute(sa.select(transfers.c.kind).where(transfers.c.id == refund_id)).scalar()
    if kind != "refund":
        raise ThingUnknown(f"there is no refund {refund_id}", field="refund_id")
    return settle(tx, clock, refund_id, post=post)


def list_refunds(tx: sa.Connection, organisation_id: str, *, after: str, limit: int) -> list[Transfer]:
    """An organisation's refunds by id, after ``after``; ``state`` is what became of each."""
    ended = transfers.alias()
    ours = (accounts.c.owner == organisation_id) & (transfers.c.kind == "refund") & transfers.c.pending_id.is_(None)
    query = (
        sa.select(transfers, sa.func.coalesce(ended.c.state, transfers.c.state).label("now"))
        .join(accounts, accounts.c.id == transfers.c.debit)
        .outerjoin(ended, ended.c.pending_id == transfers.c.id)
        .where(ours, transfers.c.id > after)
        .order_by(transfers.c.id)
        .limit(limit)
    )
    return [
        Transfer(**{name: value for name, value in row.items() if name != "now"} | {"state": row["now"]})
        for row in tx.execute(query).mappings()
    ]


def credit_note(
    tx: sa.Connection,
    clock: Clock,
    organisation_id: str,
    *,
    currency: str,
    amount_nanos: int,
    request_key: str,
    memo: str,
) -> Transfer:
    """Give back what was charged, into the wallet and out of what was earned. The same key twice is one note."""
    return transfer(
        tx,
        clock,
        request_key=f"credit_note:{organisation_id}:{request_key}",
        kind="credit_note",
        debit=own_id("revenue", check_currency(currency)),
        credit=wallet_id(organisation_id, currency),
        amount_nanos=amount_nanos,
        memo=memo,
    )
