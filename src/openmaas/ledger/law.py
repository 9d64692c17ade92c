"""Tables of the books, and the laws the database itself enforces; what is sold and who has it is in ``law_sold``.

Double entry: a transfer moves an amount from one account to another, so the sum over all accounts of a currency is 0.
Wallets, resource packs, the windows of plans and budgets are accounts alike: each can promise (``leased``, ``pending``)
no more than it has. What was said once is append-only. Amounts are integer nano-units of a currency, which is money,
a plan's credits or a pack's tokens; times are UTC milliseconds.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.core.usage import UNITS
from openmaas.store.law import LAW, append_only


def _nanos(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


#: Accounts that can promise no more than they have (and a wallet its credit line).
BOUNDED = ("wallet", "pack", "window", "budget")
#: The operator's own: money from outside, money earned, money given by voucher, what is given and what was used of
#: things that are no money, work that nobody pays for, and usage above a hold.
OWN = ("funding", "revenue", "vouchers", "allowance", "counted", "unbilled", "operator_excess")
TRANSFER_KINDS = (
    "topup",
    "refund",
    "purchase",  # of a resource pack or a plan
    "credit_note",
    "voucher",
    "grant",  # into a pack, a window or a budget
    "return",  # of what a rolling window counted long enough ago
    "expiry",  # of what a pack had left
    "charge",
    "excess",
    "unbilled",
    "correction",  # of a charge, after its price was corrected
    "carry",  # of all that one of the operator's own has, when it is full
)


def _among(column: str, names: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(name) for name in names)})"


accounts = sa.Table(
    "accounts",
    LAW,
    sa.Column("id", sa.String, primary_key=True),  # see ``book.open_account``
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("owner", sa.String, nullable=False, index=True),  # organisation id; empty for the operator's own
    sa.Column("currency", sa.String, nullable=False),
    _nanos("posted_nanos"),  # credits − debits
    _nanos("pending_nanos"),  # debits begun and not yet posted or voided
    _nanos("leased_nanos"),  # promised to relays
    _nanos("credit_nanos"),  # how far a wallet may go below 0
    _nanos("cut_nanos"),  # of a budget that was lowered: what is still to be taken, as it comes back
    sa.Column("returns_after_ms", sa.BigInteger),  # of a rolling window: what was charged comes back after this
    sa.CheckConstraint(_among("kind", (*BOUNDED, *OWN)), name="account_kind"),
    sa.CheckConstraint("pending_nanos >= 0 AND leased_nanos >= 0 AND credit_nanos >= 0", name="account_parts"),
    sa.CheckConstraint("cut_nanos = 0 OR (kind = 'budget' AND cut_nanos > 0)", name="only_budgets_are_cut"),
    sa.CheckConstraint("kind = 'wallet' OR credit_nanos = 0", name="only_wallets_have_credit"),
    sa.CheckConstraint(
        f"NOT ({_among('kind', BOUNDED)}) OR posted_nanos - pending_nanos - leased_nanos + credit_nanos >= 0",
        name="no_overdraft",
    ),
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
    sa.CheckConstraint("amount_nanos >= 0", name="transfer_amount"),
    sa.CheckConstraint("debit <> credit", name="transfer_moves"),
    sa.CheckConstraint("state IN ('pending', 'posted', 'voided')", name="transfer_state"),
    sa.CheckConstraint(_among("kind", TRANSFER_KINDS), name="transfer_kind"),
    sa.CheckConstraint("state <> 'voided' OR pending_id IS NOT NULL", name="transfer_voids"),
)
returns = sa.Table(  # what rolling windows get back, and when; a row goes when it came back
    "returns",
    LAW,
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), primary_key=True),
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Index("returns_by_account", "account_id", "due_ms"),
)
prices = sa.Table(
    "prices",
    LAW,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("organisation_id", sa.String, nullable=False),  # a customer's contract; empty for everybody
    sa.Column("terms", sa.Text, nullable=False),  # JSON of core.terms.Terms
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger),  # NULL: until a newer one
    sa.Column("memo", sa.String, nullable=False),
)
leases = sa.Table(
    "leases",
    LAW,
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("journal_id", sa.ForeignKey("journals.id"), primary_key=True),
    _nanos("granted_nanos"),  # what this relay holds of the account, used or not, until its journal is posted
    # Each step of a relay has a number, so that it is done once, though its answer was lost.
    sa.Column("turn", sa.Integer, nullable=False),
    _nanos("turn_nanos"),  # what the last step granted
    sa.CheckConstraint("granted_nanos >= 0", name="lease_granted"),
)
journals = sa.Table(
    "journals",
    LAW,
    sa.Column("id", sa.String, primary_key=True),  # one per life of a relay
    # The data folder that it lies in: its poster posts it. Empty for what a job leases: that has none, see ``pledges``.
    sa.Column("home", sa.String, nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    # Everything before the cursor is posted; the oldest request that was open there began at or after the floor.
    sa.Column("cursor_segment", sa.Integer, nullable=False),
    sa.Column("cursor_offset", sa.Integer, nullable=False),
    sa.Column("floor_segment", sa.Integer, nullable=False),
    sa.Column("floor_offset", sa.Integer, nullable=False),
    _nanos("settled_ms"),  # all that was opened before is posted
    sa.CheckConstraint("state IN ('open', 'replayed', 'written_off')", name="journal_state"),
)
write_offs = sa.Table(  # of journals that are gone for good
    "write_offs",
    LAW,
    sa.Column("journal_id", sa.ForeignKey(journals.c.id), primary_key=True),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("freed", sa.JSON, nullable=False),  # {account: nanos}: what its relay leased
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
receipts = sa.Table(
    "receipts",
    LAW,
    sa.Column("request_id", sa.String, primary_key=True),
    sa.Column("journal_id", sa.String, nullable=False),
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
    sa.Column("delivered_tokens", sa.Integer),  # what the client was sent, as its relay counted; NULL: nobody knows
    sa.Column("units", sa.JSON(none_as_null=True)),  # [[name, count], …] of what is no token
    sa.Column("batch", sa.Boolean, nullable=False),
    sa.Column("job_id", sa.String),  # the batch, task or request that asked for it; NULL: the customer did
    # Of the last leg: where what no earlier one covered was paid from.
    sa.Column("price_version", sa.ForeignKey(prices.c.version), nullable=False),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("hold_nanos", sa.BigInteger, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),  # what the customer pays: never more than the hold
    sa.Column("excess_nanos", sa.BigInteger, nullable=False),  # what the operator bears
    sa.Column("balance_nanos", sa.BigInteger, nullable=False),  # of its account after this request
    sa.Column("posted_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("amount_nanos >= 0 AND excess_nanos >= 0 AND amount_nanos <= hold_nanos", name="receipt_amount"),
    sa.Index("receipts_by_organisation", "organisation_id", "request_id"),
    sa.Index("receipts_by_opening", "organisation_id", "opened_ms", "request_id"),
    sa.Index("receipts_by_model", "model", "opened_ms", "request_id"),  # for a price that was wrong for a while
)
charges = sa.Table(  # what each account paid of each request
    "charges",
    LAW,
    sa.Column("request_id", sa.ForeignKey(receipts.c.request_id), primary_key=True),
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("leg", sa.Integer, nullable=False),  # the order in which the sources were asked
    sa.Column("part", sa.Integer, nullable=False),  # 0 for the source, above it for what counts along: budgets, windows
    sa.Column("price_version", sa.ForeignKey(prices.c.version), nullable=False),
    sa.Column("hold_nanos", sa.BigInteger, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("balance_nanos", sa.BigInteger, nullable=False),  # of the account after this request
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), index=True),  # NULL when nothing was charged
    sa.CheckConstraint("amount_nanos >= 0 AND amount_nanos <= hold_nanos", name="charge_amount"),
    sa.CheckConstraint("(amount_nanos > 0) = (transfer_id IS NOT NULL)", name="charge_moved"),
)
corrections = sa.Table(  # of charges, after a price was corrected
    "corrections",
    LAW,
    sa.Column("request_id", sa.ForeignKey(receipts.c.request_id), primary_key=True),
    sa.Column("price_version", sa.ForeignKey(prices.c.version), primary_key=True),  # the price that was right
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("change_nanos", sa.BigInteger, nullable=False),  # above 0: the customer gets it back
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), nullable=False, index=True),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
invoices = sa.Table(  # as they were issued, once for each organisation, month and currency
    "invoices",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("prefix", sa.String, nullable=False),  # of the issuer; numbers of a prefix and a year have no gap
    sa.Column("year", sa.Integer, nullable=False),
    sa.Column("sequence", sa.Integer, nullable=False),
    sa.Column("organisation_id", sa.String, nullable=False),
    sa.Column("period", sa.String, nullable=False),  # 2026-11, in the organisation's time zone
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.Column("issued_ms", sa.BigInteger, nullable=False),
    sa.Column("content", sa.Text, nullable=False),  # JSON of core.invoice.Invoice
    sa.Column("html", sa.Text, nullable=False),  # as it was rendered on that day
    sa.Column("html_hash", sa.String, nullable=False),  # SHA-256
    sa.UniqueConstraint("prefix", "year", "sequence"),
    sa.UniqueConstraint("organisation_id", "period", "currency"),
    sa.CheckConstraint("sequence >= 1", name="invoice_sequence"),
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
    *(_nanos(f"units_{unit}") for unit in UNITS),
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
for _table in (transfers, prices, receipts, charges, corrections, invoices, write_offs):
    append_only(_table)
# The few that the poster looks at again. As text, which SQLite and PostgreSQL read alike: naming the second one in an
# ``Index`` would import its dialect into every program.
_ESTIMATED = "CREATE INDEX receipts_estimated ON receipts (posted_ms, request_id) WHERE estimated"
sa.event.listen(receipts, "after_create", sa.DDL(_ESTIMATED))  # type: ignore[no-untyped-call]  # as SQLAlchemy leaves it
