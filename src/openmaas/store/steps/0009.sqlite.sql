-- Version 9: weights in the fair queue are set as limits are.
PRAGMA legacy_alter_table = ON;
ALTER TABLE limits RENAME TO old_limits;

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
    CONSTRAINT limit_kind CHECK (kind IN ('concurrency', 'rpm', 'tpm', 'weight')),
    CONSTRAINT limit_amount CHECK (amount > 0)
);
INSERT INTO limits (id, scope, subject_id, model, kind, amount, set_ms)
SELECT id, scope, subject_id, model, kind, amount, set_ms FROM old_limits;
DROP TABLE old_limits;
PRAGMA legacy_alter_table = OFF;
