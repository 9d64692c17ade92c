-- Version 2: every bounded counter is an account, a request is paid on legs, prices have terms.
-- Journals of version 1 cannot be read by this program: the house that wrote them posts them when it stops.
CREATE TEMP TABLE must (open_journals INTEGER CONSTRAINT stop_the_old_house_first CHECK (open_journals = 0));
INSERT INTO must SELECT count(*) FROM journals WHERE state = 'open';
DROP TABLE must;


DROP TRIGGER transfers_no_update;
DROP TRIGGER transfers_no_delete;
DROP TRIGGER prices_no_update;
DROP TRIGGER prices_no_delete;
DROP TRIGGER receipts_no_update;
DROP TRIGGER receipts_no_delete;
PRAGMA legacy_alter_table = ON;
ALTER TABLE accounts RENAME TO old_accounts;
ALTER TABLE journals RENAME TO old_journals;
ALTER TABLE prices RENAME TO old_prices;
ALTER TABLE leases RENAME TO old_leases;
ALTER TABLE receipts RENAME TO old_receipts;
ALTER TABLE transfers RENAME TO old_transfers;
DROP INDEX ix_transfers_debit;
DROP INDEX ix_transfers_credit;
DROP INDEX ix_prices_model;
DROP INDEX ix_receipts_transfer_id;
DROP INDEX receipts_by_organisation;

CREATE TABLE accounts (
    id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    posted_nanos BIGINT DEFAULT '0' NOT NULL,
    pending_nanos BIGINT DEFAULT '0' NOT NULL,
    leased_nanos BIGINT DEFAULT '0' NOT NULL,
    credit_nanos BIGINT DEFAULT '0' NOT NULL,
    cut_nanos BIGINT DEFAULT '0' NOT NULL,
    returns_after_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT account_kind CHECK (kind IN ('wallet', 'pack', 'window', 'budget', 'funding', 'revenue', 'vouchers', 'allowance', 'counted', 'unbilled', 'operator_excess')),
    CONSTRAINT account_parts CHECK (pending_nanos >= 0 AND leased_nanos >= 0 AND credit_nanos >= 0),
    CONSTRAINT only_budgets_are_cut CHECK (cut_nanos = 0 OR (kind = 'budget' AND cut_nanos > 0)),
    CONSTRAINT only_wallets_have_credit CHECK (kind = 'wallet' OR credit_nanos = 0),
    CONSTRAINT no_overdraft CHECK (NOT (kind IN ('wallet', 'pack', 'window', 'budget')) OR posted_nanos - pending_nanos - leased_nanos + credit_nanos >= 0)
);
CREATE INDEX ix_accounts_owner ON accounts (owner);
INSERT INTO accounts (id, kind, owner, currency, posted_nanos, pending_nanos, leased_nanos)
SELECT id, kind, owner, currency, posted_nanos, pending_nanos, leased_nanos FROM old_accounts;

CREATE TABLE audit_log (
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    detail TEXT NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (seq),
    CHECK (length(hash) = 32)
);

CREATE TABLE audit_log_head (
    one INTEGER NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (one),
    CHECK (one = 1)
);

CREATE TABLE budgets (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    subject_id VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    amount_nanos BIGINT NOT NULL,
    period VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT budget_scope CHECK (scope IN ('organisation', 'project', 'key')),
    CONSTRAINT budget_period CHECK (period IN ('day', 'week', 'month', 'total')),
    CONSTRAINT budget_amount CHECK (amount_nanos > 0)
);
CREATE INDEX ix_budgets_organisation_id ON budgets (organisation_id);

CREATE TABLE limits (
    id VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    subject_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    amount BIGINT NOT NULL,
    set_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (scope, subject_id, model, kind),
    CONSTRAINT limit_scope CHECK (scope IN ('default', 'organisation', 'project', 'key')),
    CONSTRAINT limit_subject CHECK ((scope = 'default') = (subject_id = '')),
    CONSTRAINT limit_kind CHECK (kind IN ('concurrency', 'rpm', 'tpm')),
    CONSTRAINT limit_amount CHECK (amount > 0)
);
CREATE TABLE limit_counters (
    counter VARCHAR NOT NULL,
    state JSON NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (counter)
);

CREATE TABLE journals (
    id VARCHAR NOT NULL,
    home VARCHAR NOT NULL,
    started_ms BIGINT NOT NULL,
    state VARCHAR NOT NULL,
    cursor_segment INTEGER NOT NULL,
    cursor_offset INTEGER NOT NULL,
    floor_segment INTEGER NOT NULL,
    floor_offset INTEGER NOT NULL,
    settled_ms BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT journal_state CHECK (state IN ('open', 'replayed', 'written_off'))
);

CREATE TABLE payers (
    organisation_id VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    zone VARCHAR NOT NULL,
    legal_name VARCHAR DEFAULT '' NOT NULL,
    address VARCHAR DEFAULT '' NOT NULL,
    tax_id VARCHAR DEFAULT '' NOT NULL,
    taxes TEXT DEFAULT '[]' NOT NULL,
    tax_inclusive BOOLEAN DEFAULT 1 NOT NULL,
    language VARCHAR DEFAULT '' NOT NULL,
    alert_nanos BIGINT,
    PRIMARY KEY (organisation_id)
);

CREATE TABLE invoices (
    id VARCHAR NOT NULL,
    prefix VARCHAR NOT NULL,
    year INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    organisation_id VARCHAR NOT NULL,
    period VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    until_ms BIGINT NOT NULL,
    issued_ms BIGINT NOT NULL,
    content TEXT NOT NULL,
    html TEXT NOT NULL,
    html_hash VARCHAR NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (prefix, year, sequence),
    UNIQUE (organisation_id, period, currency),
    CONSTRAINT invoice_sequence CHECK (sequence >= 1)
);

CREATE TABLE plans (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    terms TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE prices (
    version INTEGER NOT NULL,
    model VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    terms TEXT NOT NULL,
    from_ms BIGINT NOT NULL,
    until_ms BIGINT,
    memo VARCHAR NOT NULL,
    PRIMARY KEY (version)
);
CREATE INDEX ix_prices_model ON prices (model);
INSERT INTO prices (version, model, currency, organisation_id, terms, from_ms, until_ms, memo)
SELECT version, model, currency, '', json_object('bands', json_array(json_object(
    'cached_nanos', cached_nanos, 'input_nanos', input_nanos, 'output_nanos', output_nanos))), from_ms, NULL, ''
FROM old_prices;

CREATE TABLE leases (
    account_id VARCHAR NOT NULL,
    journal_id VARCHAR NOT NULL,
    granted_nanos BIGINT DEFAULT '0' NOT NULL,
    turn INTEGER NOT NULL,
    turn_nanos BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (account_id, journal_id),
    CONSTRAINT lease_granted CHECK (granted_nanos >= 0),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(journal_id) REFERENCES journals (id)
);

CREATE TABLE packs (
    account_id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    models JSON,
    from_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (account_id),
    CONSTRAINT pack_lasts CHECK (from_ms < until_ms),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX ix_packs_organisation_id ON packs (organisation_id);

CREATE TABLE receipts (
    request_id VARCHAR NOT NULL,
    journal_id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    deployment_id VARCHAR NOT NULL,
    opened_ms BIGINT NOT NULL,
    closed_ms BIGINT NOT NULL,
    first_byte_ms INTEGER NOT NULL,
    outcome VARCHAR NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    estimated BOOLEAN NOT NULL,
    delivered_tokens INTEGER,
    units JSON,
    batch BOOLEAN NOT NULL,
    job_id VARCHAR,
    price_version INTEGER NOT NULL,
    currency VARCHAR NOT NULL,
    hold_nanos BIGINT NOT NULL,
    amount_nanos BIGINT NOT NULL,
    excess_nanos BIGINT NOT NULL,
    balance_nanos BIGINT NOT NULL,
    posted_ms BIGINT NOT NULL,
    PRIMARY KEY (request_id),
    CONSTRAINT receipt_amount CHECK (amount_nanos >= 0 AND excess_nanos >= 0 AND amount_nanos <= hold_nanos),
    FOREIGN KEY(price_version) REFERENCES prices (version)
);
CREATE INDEX receipts_by_organisation ON receipts (organisation_id, request_id);
CREATE INDEX receipts_by_opening ON receipts (organisation_id, opened_ms, request_id);
CREATE INDEX receipts_by_model ON receipts (model, opened_ms, request_id);
INSERT INTO receipts (request_id, journal_id, organisation_id, project_id, key_id, model, deployment_id, opened_ms,
    closed_ms, first_byte_ms, outcome, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, estimated,
    units, batch, price_version, currency, hold_nanos, amount_nanos, excess_nanos, balance_nanos, posted_ms)
SELECT request_id, journal_id, organisation_id, project_id, key_id, model, deployment_id, opened_ms,
    closed_ms, first_byte_ms, outcome, prompt_tokens, cached_tokens, completion_tokens, reasoning_tokens, estimated,
    NULL, 0, price_version, currency, hold_nanos, amount_nanos, excess_nanos, balance_nanos, posted_ms
FROM old_receipts;

CREATE TABLE subscriptions (
    id VARCHAR NOT NULL,
    request_key VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    plan_id VARCHAR NOT NULL,
    next_plan_id VARCHAR,
    started_ms BIGINT NOT NULL,
    until_ms BIGINT NOT NULL,
    renews BOOLEAN NOT NULL,
    overflows BOOLEAN NOT NULL,
    trouble VARCHAR DEFAULT '' NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT subscription_lasts CHECK (started_ms < until_ms),
    UNIQUE (request_key),
    FOREIGN KEY(plan_id) REFERENCES plans (id),
    FOREIGN KEY(next_plan_id) REFERENCES plans (id)
);
CREATE INDEX ix_subscriptions_organisation_id ON subscriptions (organisation_id);

CREATE TABLE transfers (
    id VARCHAR NOT NULL,
    request_key VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    debit VARCHAR NOT NULL,
    credit VARCHAR NOT NULL,
    amount_nanos BIGINT NOT NULL,
    pending_id VARCHAR,
    memo VARCHAR NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT transfer_amount CHECK (amount_nanos >= 0),
    CONSTRAINT transfer_moves CHECK (debit <> credit),
    CONSTRAINT transfer_state CHECK (state IN ('pending', 'posted', 'voided')),
    CONSTRAINT transfer_kind CHECK (kind IN ('topup', 'refund', 'purchase', 'credit_note', 'voucher', 'grant', 'return', 'expiry', 'charge', 'excess', 'unbilled', 'correction')),
    CONSTRAINT transfer_voids CHECK (state <> 'voided' OR pending_id IS NOT NULL),
    UNIQUE (request_key),
    FOREIGN KEY(debit) REFERENCES accounts (id),
    FOREIGN KEY(credit) REFERENCES accounts (id),
    UNIQUE (pending_id),
    FOREIGN KEY(pending_id) REFERENCES transfers (id)
);
CREATE INDEX ix_transfers_credit ON transfers (credit);
CREATE INDEX ix_transfers_debit ON transfers (debit);
INSERT INTO transfers SELECT * FROM old_transfers;

CREATE TABLE orders (
    id VARCHAR NOT NULL,
    request_key VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    amount_nanos BIGINT NOT NULL,
    channel VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    payment_id VARCHAR,
    transfer_id VARCHAR,
    paid_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT order_amount CHECK (amount_nanos > 0),
    CONSTRAINT order_paid CHECK ((payment_id IS NULL) = (transfer_id IS NULL)),
    UNIQUE (request_key),
    UNIQUE (payment_id),
    UNIQUE (transfer_id),
    FOREIGN KEY(transfer_id) REFERENCES transfers (id)
);
CREATE INDEX ix_orders_organisation_id ON orders (organisation_id);

CREATE TABLE voucher_batches (
    id VARCHAR NOT NULL,
    request_key VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    amount_nanos BIGINT NOT NULL,
    count INTEGER NOT NULL,
    expires_ms BIGINT NOT NULL,
    memo VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    ended_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT voucher_amount CHECK (amount_nanos > 0),
    UNIQUE (request_key)
);

CREATE TABLE vouchers (
    code_hash BLOB NOT NULL,
    batch_id VARCHAR NOT NULL,
    organisation_id VARCHAR,
    transfer_id VARCHAR,
    PRIMARY KEY (code_hash),
    CONSTRAINT voucher_hash CHECK (length(code_hash) = 32),
    CONSTRAINT voucher_redeemed CHECK ((organisation_id IS NULL) = (transfer_id IS NULL)),
    FOREIGN KEY(batch_id) REFERENCES voucher_batches (id),
    UNIQUE (transfer_id),
    FOREIGN KEY(transfer_id) REFERENCES transfers (id)
);
CREATE INDEX ix_vouchers_batch_id ON vouchers (batch_id);

CREATE TABLE charges (
    request_id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    leg INTEGER NOT NULL,
    part INTEGER NOT NULL,
    price_version INTEGER NOT NULL,
    hold_nanos BIGINT NOT NULL,
    amount_nanos BIGINT NOT NULL,
    balance_nanos BIGINT NOT NULL,
    transfer_id VARCHAR,
    PRIMARY KEY (request_id, account_id),
    CONSTRAINT charge_amount CHECK (amount_nanos >= 0 AND amount_nanos <= hold_nanos),
    CONSTRAINT charge_moved CHECK ((amount_nanos > 0) = (transfer_id IS NOT NULL)),
    FOREIGN KEY(request_id) REFERENCES receipts (request_id),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(price_version) REFERENCES prices (version),
    FOREIGN KEY(transfer_id) REFERENCES transfers (id)
);
CREATE INDEX ix_charges_transfer_id ON charges (transfer_id);

CREATE TABLE corrections (
    request_id VARCHAR NOT NULL,
    price_version INTEGER NOT NULL,
    account_id VARCHAR NOT NULL,
    change_nanos BIGINT NOT NULL,
    transfer_id VARCHAR NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (request_id, price_version, account_id),
    FOREIGN KEY(request_id) REFERENCES receipts (request_id),
    FOREIGN KEY(price_version) REFERENCES prices (version),
    FOREIGN KEY(account_id) REFERENCES accounts (id),
    FOREIGN KEY(transfer_id) REFERENCES transfers (id)
);
CREATE INDEX ix_corrections_transfer_id ON corrections (transfer_id);

CREATE TABLE returns (
    transfer_id VARCHAR NOT NULL,
    account_id VARCHAR NOT NULL,
    amount_nanos BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    PRIMARY KEY (transfer_id),
    FOREIGN KEY(transfer_id) REFERENCES transfers (id),
    FOREIGN KEY(account_id) REFERENCES accounts (id)
);
CREATE INDEX returns_by_account ON returns (account_id, due_ms);

INSERT INTO charges (request_id, account_id, leg, part, price_version, hold_nanos, amount_nanos, balance_nanos, transfer_id)
SELECT request_id, 'wallet:' || organisation_id || ':' || currency, 0, 0, price_version, hold_nanos, amount_nanos,
    balance_nanos, transfer_id
FROM old_receipts;
DROP TABLE old_transfers;
DROP TABLE old_receipts;
DROP TABLE old_leases;
DROP TABLE old_prices;
DROP TABLE old_journals;
DROP TABLE old_accounts;
PRAGMA legacy_alter_table = OFF;
CREATE TRIGGER audit_log_no_update BEFORE UPDATE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER audit_log_no_delete BEFORE DELETE ON audit_log BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER plans_no_update BEFORE UPDATE ON plans BEGIN SELECT RAISE(ABORT, 'plans is append-only'); END;
CREATE TRIGGER plans_no_delete BEFORE DELETE ON plans BEGIN SELECT RAISE(ABORT, 'plans is append-only'); END;
CREATE TRIGGER prices_no_update BEFORE UPDATE ON prices BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER prices_no_delete BEFORE DELETE ON prices BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE TRIGGER charges_no_update BEFORE UPDATE ON charges BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER charges_no_delete BEFORE DELETE ON charges BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER corrections_no_update BEFORE UPDATE ON corrections BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
CREATE TRIGGER corrections_no_delete BEFORE DELETE ON corrections BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
CREATE TRIGGER invoices_no_update BEFORE UPDATE ON invoices BEGIN SELECT RAISE(ABORT, 'invoices is append-only'); END;
CREATE TRIGGER invoices_no_delete BEFORE DELETE ON invoices BEGIN SELECT RAISE(ABORT, 'invoices is append-only'); END;
CREATE INDEX receipts_estimated ON receipts (posted_ms, request_id) WHERE estimated;
CREATE TABLE write_offs (
    journal_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    freed JSON NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (journal_id),
    FOREIGN KEY(journal_id) REFERENCES journals (id)
);
CREATE TRIGGER write_offs_no_update BEFORE UPDATE ON write_offs BEGIN SELECT RAISE(ABORT, 'write_offs is append-only'); END;
CREATE TRIGGER write_offs_no_delete BEFORE DELETE ON write_offs BEGIN SELECT RAISE(ABORT, 'write_offs is append-only'); END;
CREATE TABLE aliases (
    pattern VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (pattern),
    CHECK (pattern = lower(pattern) AND pattern <> ''),
    FOREIGN KEY(model) REFERENCES models (name)
);
CREATE INDEX ix_aliases_model ON aliases (model);

CREATE TABLE files (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    filename VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    digest VARCHAR NOT NULL,
    place VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    PRIMARY KEY (id),
    CONSTRAINT file_size CHECK (size_bytes >= 0),
    CONSTRAINT file_digest CHECK (length(digest) = 64)
);
CREATE INDEX files_by_project ON files (project_id, id);
CREATE INDEX ix_files_expires_ms ON files (expires_ms);

CREATE TABLE jobs (
    id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    place VARCHAR NOT NULL,
    wanted TEXT NOT NULL,
    progress TEXT NOT NULL,
    state VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    due_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    cancel_ms BIGINT,
    ended_ms BIGINT,
    worker VARCHAR NOT NULL,
    turn INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT job_state CHECK (state IN ('open', 'done', 'failed', 'expired', 'cancelled')),
    CONSTRAINT job_ended CHECK ((state = 'open') = (ended_ms IS NULL))
);
CREATE INDEX jobs_by_due ON jobs (state, due_ms);
CREATE INDEX jobs_by_project ON jobs (project_id, kind, id);

CREATE TABLE events (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    type VARCHAR NOT NULL,
    at_ms BIGINT NOT NULL,
    data TEXT NOT NULL,
    once VARCHAR,
    fanned BOOLEAN NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (once)
);
CREATE INDEX events_by_fan ON events (fanned, id);

CREATE TABLE webhook_endpoints (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    types JSON,
    description VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL,
    secret_sealed BLOB NOT NULL,
    master_version INTEGER NOT NULL,
    old_secret_sealed BLOB,
    old_until_ms BIGINT,
    failing_since_ms BIGINT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_webhook_endpoints_organisation_id ON webhook_endpoints (organisation_id);

CREATE TABLE webhook_deliveries (
    id VARCHAR NOT NULL,
    endpoint_id VARCHAR NOT NULL,
    event_id VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    due_ms BIGINT NOT NULL,
    last_ms BIGINT,
    last_status INTEGER,
    last_answer VARCHAR NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT delivery_state CHECK (state IN ('pending', 'done', 'failed')),
    FOREIGN KEY(endpoint_id) REFERENCES webhook_endpoints (id),
    FOREIGN KEY(event_id) REFERENCES events (id)
);
CREATE INDEX deliveries_by_due ON webhook_deliveries (state, due_ms);
CREATE INDEX deliveries_by_endpoint ON webhook_deliveries (endpoint_id, id);
CREATE INDEX deliveries_by_event ON webhook_deliveries (event_id);
CREATE TABLE response_retention (
    project_id VARCHAR NOT NULL,
    days INTEGER NOT NULL,
    PRIMARY KEY (project_id),
    CONSTRAINT retention_days CHECK (days BETWEEN 0 AND 3650),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE TABLE responses (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    previous_id VARCHAR,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    asked BLOB NOT NULL,
    answer BLOB NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE INDEX ix_responses_expires_ms ON responses (expires_ms);
CREATE INDEX ix_responses_project_id ON responses (project_id);
