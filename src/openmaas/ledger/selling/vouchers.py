"""Vouchers: codes that put an amount into the wallet of whoever redeems one first. Only their hashes are stored.

A code is 20 letters of Crockford's alphabet (https://www.crockford.com/base32.html), 100 random bits, so that one hash
is enough and guessing is hopeless. What is given in this way stands on the operator's account ``vouchers``.
"""

from __future__ import annotations

import hashlib

import msgspec
import sqlalchemy as sa

from openmaas.core.clock import Clock
from openmaas.core.errors import Conflict, FieldInvalid, ThingUnknown
from openmaas.core.money import check_currency
from openmaas.ledger.book import Transfer, own_id, transfer, wallet_id
from openmaas.ledger.law import transfers
from openmaas.ledger.law_sold import voucher_batches, vouchers

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH, _GROUP = 20, 5
#: What is read as what, and what only makes it readable.
_READ_AS = str.maketrans("OIL", "011", "- ")


class Batch(msgspec.Struct, frozen=True):
    """Vouchers that were issued together. ``redeemed`` counts those of ``count`` that are used."""

    id: str
    currency: str
    amount_nanos: int
    count: int
    expires_ms: int
    memo: str
    created_ms: int
    ended_ms: int | None
    redeemed: int = 0


def issue(
    tx: sa.Connection,
    clock: Clock,
    *,
    currency: str,
    amount_nanos: int,
    count: int,
    expires_ms: int,
    request_key: str,
    memo: str,
) -> tuple[Batch, list[str]]:
    """A new batch and its codes, which can be read this once: the same key again gives the batch without them.

    Raises ``FieldInvalid``, and ``Conflict`` when the key stands for another batch.
    """
    if amount_nanos <= 0:
        raise FieldInvalid("amount must be above 0", field="amount")
    wanted = (check_currency(currency), amount_nanos, count, expires_ms)
    first = tx.execute(_BATCHES.where(voucher_batches.c.request_key == request_key)).mappings().first()
    if first is not None:
        had = _batch(first)
        if (had.currency, had.amount_nanos, had.count, had.expires_ms) != wanted:
            raise Conflict(f"the key {request_key!r} stands for another batch", field="request_key")
        return had, []
    now_ms = clock.wall_ms()
    if expires_ms <= now_ms:
        raise FieldInvalid("expires_at must lie in the future", field="expires_at")
    made = Batch(clock.new_id("vou").lower(), *wanted, memo, now_ms, None)
    row = {name: value for name, value in msgspec.structs.asdict(made).items() if name != "redeemed"}
    tx.execute(voucher_batches.insert().values(request_key=request_key, **row))
    codes = [_new_code(clock) for _ in range(count)]
    tx.execute(vouchers.insert(), [{"code_hash": hash_code(code), "batch_id": made.id} for code in codes])
    return made, codes


def redeem(tx: sa.Connection, clock: Clock, organisation_id: str, code: str) -> Transfer:
    """Put the amount of a voucher into a wallet, once. The same organisation again gets the first transfer.

    Raises ``ThingUnknown`` for a code that nobody issued and ``Conflict`` for one that is used, ended or expired.
    """
    digest = hash_code(code)
    query = sa.select(vouchers, voucher_batches).join(voucher_batches, voucher_batches.c.id == vouchers.c.batch_id)
    row = tx.execute(query.where(vouchers.c.code_hash == digest)).first()
    if row is None:
        raise ThingUnknown("there is no such voucher", field="code")
    if row.transfer_id is not None:
        if row.organisation_id != organisation_id:
            raise Conflict("this voucher was redeemed before", field="code")
        return Transfer(**tx.execute(sa.select(transfers).where(transfers.c.id == row.transfer_id)).mappings().one())
    if row.ended_ms is not None or row.expires_ms <= clock.wall_ms():
        raise Conflict("this voucher is no longer valid", field="code")
    made = transfer(
        tx,
        clock,
        request_key=f"voucher:{digest.hex()}",
        kind="voucher",
        debit=own_id("vouchers", row.currency),
        credit=wallet_id(organisation_id, row.currency),
        amount_nanos=row.amount_nanos,
        memo=row.memo,
    )
    used = {"organisation_id": organisation_id, "transfer_id": made.id}
    tx.execute(vouchers.update().where(vouchers.c.code_hash == digest).values(used))
    return made


def end_batch(tx: sa.Connection, clock: Clock, batch_id: str) -> None:
    """Vouchers of this batch that are not redeemed are worth nothing any more. Raises ``ThingUnknown``."""
    ended_ms = sa.func.coalesce(voucher_batches.c.ended_ms, clock.wall_ms())
    changed = tx.execute(voucher_batches.update().where(voucher_batches.c.id == batch_id).values(ended_ms=ended_ms))
    if changed.rowcount == 0:
        raise ThingUnknown(f"there is no batch {batch_id}", field="batch_id")


def list_batches(tx: sa.Connection, *, after: str, limit: int) -> list[Batch]:
    """Batches by id, after ``after``, with how many of each are redeemed."""
    query = _BATCHES.where(voucher_batches.c.id > after).order_by(voucher_batches.c.id).limit(limit)
    return [_batch(row) for row in tx.execute(query).mappings()]


def hash_code(code: str) -> bytes:
    """SHA-256 of a code as it was issued, however it is written."""
    return hashlib.sha256(code.upper().translate(_READ_AS).encode()).digest()


_BATCHES = sa.select(
    voucher_batches,
    sa.select(sa.func.count(vouchers.c.transfer_id))
    .where(vouchers.c.batch_id == voucher_batches.c.id)
    .scalar_subquery()
    .label("redeemed"),
)


def _batch(row: sa.RowMapping) -> Batch:
    return Batch(**{name: value for name, value in row.items() if name != "request_key"})


def _new_code(clock: Clock) -> str:
    letters = "".join(_ALPHABET[byte & 31] for byte in clock.random_bytes(_LENGTH))
    return "-".join(letters[i : i + _GROUP] for i in range(0, _LENGTH, _GROUP))
