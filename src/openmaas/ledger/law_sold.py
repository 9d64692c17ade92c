"""Tables of what is sold and of who has it: how organisations pay, vouchers, orders, packs, plans, budgets.

Each of them says why money may move; that it moved stands in ``law``. What was said once is append-only there.
"""

from __future__ import annotations

import sqlalchemy as sa

from openmaas.ledger.law import accounts, transfers
from openmaas.store.law import LAW, append_only

payers = sa.Table(  # how an organisation pays; without a row: as the settings say
    "payers",
    LAW,
    sa.Column("organisation_id", sa.String, primary_key=True),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("zone", sa.String, nullable=False),  # of its billing periods and budgets
    sa.Column("legal_name", sa.String, nullable=False, server_default=""),  # what an invoice says, from here on
    sa.Column("address", sa.String, nullable=False, server_default=""),
    sa.Column("tax_id", sa.String, nullable=False, server_default=""),
    sa.Column("taxes", sa.Text, nullable=False, server_default="[]"),  # JSON of core.invoice.Tax
    sa.Column("tax_inclusive", sa.Boolean, nullable=False, server_default=sa.true()),  # prices hold the taxes
    sa.Column("language", sa.String, nullable=False, server_default=""),  # empty: zh for CNY, else en
    sa.Column("alert_nanos", sa.BigInteger),  # a wallet that falls below it is told of
)
voucher_batches = sa.Table(
    "voucher_batches",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("request_key", sa.String, nullable=False, unique=True),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),  # of each voucher
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("memo", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),  # the operator took the rest back
    sa.CheckConstraint("amount_nanos > 0", name="voucher_amount"),
)
vouchers = sa.Table(
    "vouchers",
    LAW,
    sa.Column("code_hash", sa.LargeBinary, primary_key=True),
    sa.Column("batch_id", sa.ForeignKey(voucher_batches.c.id), nullable=False, index=True),
    sa.Column("organisation_id", sa.String),  # who redeemed it
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), unique=True),
    sa.CheckConstraint("length(code_hash) = 32", name="voucher_hash"),
    sa.CheckConstraint("(organisation_id IS NULL) = (transfer_id IS NULL)", name="voucher_redeemed"),
)
orders = sa.Table(  # what a customer wants to pay
    "orders",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("request_key", sa.String, nullable=False, unique=True),
    sa.Column("organisation_id", sa.String, nullable=False, index=True),
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("channel", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("payment_id", sa.String, unique=True),  # the provider's; NULL until it is paid
    sa.Column("transfer_id", sa.ForeignKey(transfers.c.id), unique=True),
    sa.Column("paid_ms", sa.BigInteger),
    sa.CheckConstraint("amount_nanos > 0", name="order_amount"),
    sa.CheckConstraint("(payment_id IS NULL) = (transfer_id IS NULL)", name="order_paid"),
)
packs = sa.Table(
    "packs",
    LAW,
    sa.Column("account_id", sa.ForeignKey(accounts.c.id), primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False, index=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("models", sa.JSON(none_as_null=True)),  # NULL: every model
    sa.Column("from_ms", sa.BigInteger, nullable=False),
    sa.Column("until_ms", sa.BigInteger, nullable=False),
    sa.CheckConstraint("from_ms < until_ms", name="pack_lasts"),
)
plans = sa.Table(  # what is for sale; a changed plan is a new row
    "plans",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False),
    sa.Column("terms", sa.Text, nullable=False),  # JSON of ledger.spending.plans.PlanTerms
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)
subscriptions = sa.Table(
    "subscriptions",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("request_key", sa.String, nullable=False, unique=True),
    sa.Column("organisation_id", sa.String, nullable=False, index=True),
    sa.Column("plan_id", sa.ForeignKey(plans.c.id), nullable=False),
    sa.Column("next_plan_id", sa.ForeignKey(plans.c.id)),  # after the period that runs: a downgrade
    sa.Column("started_ms", sa.BigInteger, nullable=False),  # the first period; weeks are counted from here
    sa.Column("until_ms", sa.BigInteger, nullable=False),  # the end of what is paid
    sa.Column("renews", sa.Boolean, nullable=False),
    sa.Column("overflows", sa.Boolean, nullable=False),  # the customer said: when it is used up, go on with cash
    sa.Column("trouble", sa.String, nullable=False, server_default=""),  # why it could not be renewed yet
    sa.CheckConstraint("started_ms < until_ms", name="subscription_lasts"),
)
budgets = sa.Table(  # the most that may be spent of wallets
    "budgets",
    LAW,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("organisation_id", sa.String, nullable=False, index=True),
    sa.Column("scope", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, nullable=False),  # of the organisation, project or key
    sa.Column("currency", sa.String, nullable=False),
    sa.Column("amount_nanos", sa.BigInteger, nullable=False),
    sa.Column("period", sa.String, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),
    sa.CheckConstraint("scope IN ('organisation', 'project', 'key')", name="budget_scope"),
    sa.CheckConstraint("period IN ('day', 'week', 'month', 'total')", name="budget_period"),
    sa.CheckConstraint("amount_nanos > 0", name="budget_amount"),
)
append_only(plans)
