CREATE TABLE schema_versions (
    version SERIAL NOT NULL,
    PRIMARY KEY (version)
);
CREATE TABLE models (
    name VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    context_tokens INTEGER NOT NULL,
    output_tokens_default INTEGER NOT NULL,
    description VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (name),
    CHECK (task IN ('generate', 'embed')),
    CHECK (context_tokens > 0 AND output_tokens_default >= 0)
);
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
CREATE TABLE organisations (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (name)
);
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
CREATE TABLE prices (
    version SERIAL NOT NULL,
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
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER prices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prices FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE payers (
    organisation_id VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    zone VARCHAR NOT NULL,
    legal_name VARCHAR DEFAULT '' NOT NULL,
    address VARCHAR DEFAULT '' NOT NULL,
    tax_id VARCHAR DEFAULT '' NOT NULL,
    taxes TEXT DEFAULT '[]' NOT NULL,
    tax_inclusive BOOLEAN DEFAULT true NOT NULL,
    language VARCHAR DEFAULT '' NOT NULL,
    alert_nanos BIGINT,
    PRIMARY KEY (organisation_id)
);
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
CREATE TABLE plans (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    terms TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER plans_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON plans FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
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
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER invoices_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON invoices FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE usage_days (
    day VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    currency VARCHAR NOT NULL,
    requests BIGINT DEFAULT '0' NOT NULL,
    prompt_tokens BIGINT DEFAULT '0' NOT NULL,
    cached_tokens BIGINT DEFAULT '0' NOT NULL,
    completion_tokens BIGINT DEFAULT '0' NOT NULL,
    amount_nanos BIGINT DEFAULT '0' NOT NULL,
    PRIMARY KEY (day, organisation_id, project_id, key_id, model, currency)
);
CREATE TABLE idempotency (
    key_id VARCHAR NOT NULL,
    idempotency_key VARCHAR NOT NULL,
    body_hash BYTEA NOT NULL,
    request_id VARCHAR NOT NULL,
    journal_id VARCHAR NOT NULL,
    status INTEGER,
    content_type VARCHAR,
    answer BYTEA,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (key_id, idempotency_key)
);
CREATE INDEX ix_idempotency_created_ms ON idempotency (created_ms);
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
CREATE TABLE audit_log (
    seq BIGINT NOT NULL,
    at_ms BIGINT NOT NULL,
    actor VARCHAR NOT NULL,
    action VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    detail TEXT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (seq),
    CHECK (length(hash) = 32)
);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE audit_log_head (
    one SERIAL NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (one),
    CHECK (one = 1)
);
CREATE TABLE change_counter (
    one SERIAL NOT NULL,
    seq BIGINT NOT NULL,
    PRIMARY KEY (one),
    CHECK (one = 1)
);
CREATE TABLE changes (
    seq BIGSERIAL NOT NULL,
    kind VARCHAR NOT NULL,
    subject VARCHAR NOT NULL,
    PRIMARY KEY (seq)
);
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
    secret_sealed BYTEA NOT NULL,
    master_version INTEGER NOT NULL,
    old_secret_sealed BYTEA,
    old_until_ms BIGINT,
    failing_since_ms BIGINT,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX ix_webhook_endpoints_organisation_id ON webhook_endpoints (organisation_id);
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
CREATE TABLE deployments (
    id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    served_name VARCHAR NOT NULL,
    weights VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    credential_sealed BYTEA,
    master_version INTEGER,
    slots INTEGER NOT NULL,
    options JSON NOT NULL,
    wanted VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CHECK (kind IN ('llama', 'embedder', 'echo', 'openai_http')),
    CHECK (wanted IN ('running', 'stopped')),
    CHECK ((kind = 'openai_http') = (url <> '')),
    CHECK (slots > 0),
    FOREIGN KEY(model) REFERENCES models (name)
);
CREATE INDEX ix_deployments_model ON deployments (model);
CREATE TABLE aliases (
    pattern VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (pattern),
    CHECK (pattern = lower(pattern) AND pattern <> ''),
    FOREIGN KEY(model) REFERENCES models (name)
);
CREATE INDEX ix_aliases_model ON aliases (model);
CREATE TABLE projects (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (organisation_id, name),
    FOREIGN KEY(organisation_id) REFERENCES organisations (id)
);
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
CREATE INDEX ix_transfers_debit ON transfers (debit);
CREATE INDEX ix_transfers_credit ON transfers (credit);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON transfers FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
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
CREATE TABLE write_offs (
    journal_id VARCHAR NOT NULL,
    reason VARCHAR NOT NULL,
    freed JSON NOT NULL,
    at_ms BIGINT NOT NULL,
    PRIMARY KEY (journal_id),
    FOREIGN KEY(journal_id) REFERENCES journals (id)
);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER write_offs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON write_offs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
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
CREATE INDEX receipts_by_opening ON receipts (organisation_id, opened_ms, request_id);
CREATE INDEX receipts_by_organisation ON receipts (organisation_id, request_id);
CREATE INDEX receipts_by_model ON receipts (model, opened_ms, request_id);
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER receipts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON receipts FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE INDEX receipts_estimated ON receipts (posted_ms, request_id) WHERE estimated;
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
CREATE INDEX deliveries_by_endpoint ON webhook_deliveries (endpoint_id, id);
CREATE INDEX deliveries_by_event ON webhook_deliveries (event_id);
CREATE INDEX deliveries_by_due ON webhook_deliveries (state, due_ms);
CREATE TABLE keys (
    id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    secret_hash BYTEA NOT NULL,
    secret_sealed BYTEA NOT NULL,
    master_version INTEGER NOT NULL,
    scopes JSON NOT NULL,
    models JSON,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT,
    revoked_ms BIGINT,
    last_used_ms BIGINT,
    PRIMARY KEY (id),
    CHECK (length(secret_hash) = 32),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE INDEX ix_keys_project_id ON keys (project_id);
CREATE INDEX ix_keys_master_version ON keys (master_version);
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
CREATE TABLE vouchers (
    code_hash BYTEA NOT NULL,
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
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER charges_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON charges FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
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
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TRIGGER corrections_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON corrections FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TABLE responses (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    previous_id VARCHAR,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    asked BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE INDEX ix_responses_project_id ON responses (project_id);
CREATE INDEX ix_responses_expires_ms ON responses (expires_ms);
CREATE TABLE response_retention (
    project_id VARCHAR NOT NULL,
    days INTEGER NOT NULL,
    PRIMARY KEY (project_id),
    CONSTRAINT retention_days CHECK (days BETWEEN 0 AND 3650),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
INSERT INTO schema_versions (version) VALUES (2);
INSERT INTO models VALUES ('m', 'generate', 1000, 100, '', 1);
INSERT INTO deployments VALUES ('dep_1', 'm', 'echo', 'm', '', '', NULL, NULL, 4, '{}', 'running', 1);
INSERT INTO usage_days VALUES ('2026-11-01', 'org', 'p', 'k', 'm', 'CNY', 1, 2, 0, 3, 5);
