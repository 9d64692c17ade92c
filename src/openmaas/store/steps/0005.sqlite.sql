-- Version 5: what the operator's own accounts have is carried over when they are full; no key of what is append-only is
-- taken by another row.
DROP TRIGGER transfers_no_update;
DROP TRIGGER transfers_no_delete;
DROP INDEX ix_transfers_credit;
DROP INDEX ix_transfers_debit;
PRAGMA legacy_alter_table = ON;
ALTER TABLE transfers RENAME TO old_transfers;

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
    CONSTRAINT transfer_kind CHECK (kind IN ('topup', 'refund', 'purchase', 'credit_note', 'voucher', 'grant', 'return', 'expiry', 'charge', 'excess', 'unbilled', 'correction', 'carry')),
    CONSTRAINT transfer_voids CHECK (state <> 'voided' OR pending_id IS NOT NULL),
    UNIQUE (request_key),
    FOREIGN KEY(debit) REFERENCES accounts (id),
    FOREIGN KEY(credit) REFERENCES accounts (id),
    UNIQUE (pending_id),
    FOREIGN KEY(pending_id) REFERENCES transfers (id)
);
INSERT INTO transfers SELECT * FROM old_transfers;
DROP TABLE old_transfers;
PRAGMA legacy_alter_table = OFF;
CREATE INDEX ix_transfers_credit ON transfers (credit);
CREATE INDEX ix_transfers_debit ON transfers (debit);
CREATE TRIGGER transfers_no_update BEFORE UPDATE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE TRIGGER transfers_no_delete BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
-- INSERT OR REPLACE deletes without a word to the triggers of deletion.
CREATE TRIGGER audit_log_no_replace BEFORE INSERT ON audit_log WHEN EXISTS (SELECT 1 FROM audit_log WHERE seq = NEW.seq) BEGIN SELECT RAISE(ABORT, 'audit_log is append-only'); END;
CREATE TRIGGER charges_no_replace BEFORE INSERT ON charges WHEN EXISTS (SELECT 1 FROM charges WHERE request_id = NEW.request_id AND account_id = NEW.account_id) BEGIN SELECT RAISE(ABORT, 'charges is append-only'); END;
CREATE TRIGGER corrections_no_replace BEFORE INSERT ON corrections WHEN EXISTS (SELECT 1 FROM corrections WHERE request_id = NEW.request_id AND price_version = NEW.price_version AND account_id = NEW.account_id) BEGIN SELECT RAISE(ABORT, 'corrections is append-only'); END;
CREATE TRIGGER invoices_no_replace BEFORE INSERT ON invoices WHEN EXISTS (SELECT 1 FROM invoices WHERE id = NEW.id OR organisation_id = NEW.organisation_id AND period = NEW.period AND currency = NEW.currency OR prefix = NEW.prefix AND year = NEW.year AND sequence = NEW.sequence) BEGIN SELECT RAISE(ABORT, 'invoices is append-only'); END;
CREATE TRIGGER plans_no_replace BEFORE INSERT ON plans WHEN EXISTS (SELECT 1 FROM plans WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'plans is append-only'); END;
CREATE TRIGGER prices_no_replace BEFORE INSERT ON prices WHEN EXISTS (SELECT 1 FROM prices WHERE version = NEW.version) BEGIN SELECT RAISE(ABORT, 'prices is append-only'); END;
CREATE TRIGGER receipts_no_replace BEFORE INSERT ON receipts WHEN EXISTS (SELECT 1 FROM receipts WHERE request_id = NEW.request_id) BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER transfers_no_replace BEFORE INSERT ON transfers WHEN EXISTS (SELECT 1 FROM transfers WHERE id = NEW.id OR pending_id = NEW.pending_id OR request_key = NEW.request_key) BEGIN SELECT RAISE(ABORT, 'transfers is append-only'); END;
CREATE TRIGGER write_offs_no_replace BEFORE INSERT ON write_offs WHEN EXISTS (SELECT 1 FROM write_offs WHERE journal_id = NEW.journal_id) BEGIN SELECT RAISE(ABORT, 'write_offs is append-only'); END;
