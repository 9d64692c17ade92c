-- Version 5: what the operator's own accounts have is carried over when they are full.
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
