"""Tables of the books, and the laws the database itself enforces.

Double entry: a transfer moves an amount from one account to another, so the sum over all accounts of a currency is 0.
A wallet can promise (``leased``, ``pending``) no more than it has. Transfers, receipts and prices are append-only.
Amounts are integer nano-units, times UTC milliseconds.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.store.database import LAW, append_only


def _nanos(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


accounts = sa.Table(
    "accounts",
    LAW,
    sa.Column("id", sa.String, primary_key=True),  # wallet:<organisation>:<currency> or <kind>:<currency>
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False),  # organisation id; empty for the operator's own accounts
    sa.Column("currency", sa.String, nullable=False),
    _nanos("posted_nanos"),  # credits − debits
    _nanos("pending_nanos"),  # debits begun and not yet posted or voided
    _nanos("leased_nanos"),  # promised to relays
    sa.CheckConstraint("kind IN ('wallet', 'funding', 'revenue', 'unbilled', 'operator_excess')"),
    sa.CheckConstraint("pending_nanos >= 0 AND leased_nanos >= 0"),
    sa.CheckConstraint("kind <> 'wallet' OR posted_nanos - pending_nanos - leased_nanos >= 0", name="no_overdraft"),
)
transfers = sa.Table(
    "transfers",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("request_key", sa.String, nullable=False, unique=True),  # the same key twice is one transfer
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("debit", sa.ForeignKey(accounts.c.id), nullable=False, index=True),
    sa.Column("credit", sa.ForeignKey(accounts.c.id), nullable=False, index=True),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("pending_id", sa.ForeignKey("transfers.id"), unique=True),  # what this posts or voids: once
    sa.Column("memo", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("amount_nanos >= 0"),
    sa.CheckConstraint("debit <> credit"),
    sa.CheckConstraint("state IN ('pending', 'posted', 'voided')"),
    sa.CheckConstraint("kind IN ('topup', 'refund', 'charge', 'excess', 'unbilled')"),
    sa.CheckConstraint("state <> 'voided' OR pending_id IS NOT NULL"),
)
prices = sa.Table(
    "prices",
    LAW,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("input_nanos", sa.BigInteger, nullable=False),  # each per million tokens
    sa.Column("cached_nanos", sa.BigInteger, nullable=False),
    sa.Column("output_nanos", sa.BigInteger, nullable=False),
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("input_nanos >= 0 AND cached_nanos >= 0 AND output_nanos >= 0"),
    sa.CheckConstraint("cached_nanos <= input_nanos"),  # so the worst case is: nothing was cached
)
leases = sa.Table(
    "leases",
    LAW,
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("journal_id", sa.ForeignKey("journals.id"), primary_key=True),
    _nanos("granted_nanos"),  # what this relay holds of the account, used or not, until its journal is posted
    sa.CheckConstraint("granted_nanos >= 0"),
)
journals = sa.Table(
    "journals",
    LAW,
    sa.Column("id", sa.String, primary_key=True),  # one per life of a relay
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    # Everything before the cursor is posted; the oldest request that was open there began at or after the floor.
    sa.Column("cursor_segment", sa.Integer, nullable=False),
    sa.Column("cursor_offset", sa.Integer, nullable=False),
    sa.Column("floor_segment", sa.Integer, nullable=False),
    sa.Column("floor_offset", sa.Integer, nullable=False),
    sa.CheckConstraint("state IN ('open', 'replayed', 'written_off')"),
)
receipts = sa.Table(
    "receipts",
    LAW,
    sa.Column("request_id", sa.String, primary_key=True),
    sa.Column("journal_id", sa.String, nullable=False),
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), index=True),  # NULL when nothing was charged
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("project_id", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("deployment_id", sa.String, nullable=False),
    sa.Column("opened_ms", sa.BigInteger, nullable=False),
    sa.Column("closed_ms", sa.BigInteger, nullable=False),
    sa.Column("first_byte_ms", sa.Integer, nullable=False),  # after opening; 0 when nothing came
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("cached_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("reasoning_tokens", sa.Integer, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("price_version", sa.ForeignKey(prices.c.version), nullable=False),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("hold_nanos", sa.BigInteger, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),  # what the customer pays: never more than the hold
    sa.Column("excess_nanos", sa.BigInteger, nullable=False),  # what the operator bears
    sa.Column("balance_nanos", sa.BigInteger, nullable=False),  # of the wallet after this request
    sa.Column("posted_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("amount_nanos >= 0 AND excess_nanos >= 0 AND amount_nanos <= hold_nanos"),
    sa.CheckConstraint("(amount_nanos > 0) <= (transfer_id IS NOT NULL)"),
    sa.Index("receipts_by_organisation", "organisation_id", "request_id"),
)
usage_days = sa.Table(
    "usage_days",
    LAW,
    sa.Column("day", sa.String, primary_key=True),  # of UTC, by the time of opening
    sa.Column("organisation_id", sa.String, primary_key=True),
    sa.Column("project_id", sa.String, primary_key=True),
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("currency", sa.String, primary_key=True),
    _nanos("requests"),
    _nanos("prompt_tokens"),
    _nanos("cached_tokens"),
    _nanos("completion_tokens"),
    _nanos("amount_nanos"),
)
idempotency = sa.Table(
    "idempotency",
    LAW,
    sa.Column("key_id", sa.String, primary_key=True),
    sa.Column("idempotency_key", sa.String, primary_key=True),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("journal_id", sa.String, nullable=False),
    sa.Column("status", sa.Integer),  # NULL while the first request runs
    sa.Column("content_type", sa.String),
    sa.Column("answer", sa.LargeBinary),  # NULL when it was too long to keep or did not end
    sa.Column("created_ms", sa.BigInteger, nullable=False, index=True),
)
for _table in (transfers, prices, receipts):
    append_only(_table)
