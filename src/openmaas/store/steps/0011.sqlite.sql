-- Version 11: shares, speeds and regions of deployments, names for one project, models that stand in, priority.
ALTER TABLE models ADD COLUMN fallbacks JSON DEFAULT '[]' NOT NULL;
ALTER TABLE deployments ADD COLUMN weight FLOAT DEFAULT '1' NOT NULL CONSTRAINT deployment_weight CHECK (weight > 0);
ALTER TABLE deployments ADD COLUMN share_percent INTEGER DEFAULT '100' NOT NULL
    CONSTRAINT deployment_share CHECK (share_percent BETWEEN 0 AND 100);
ALTER TABLE deployments ADD COLUMN region VARCHAR DEFAULT '' NOT NULL;
DROP INDEX ix_aliases_model;
PRAGMA legacy_alter_table = ON;
ALTER TABLE aliases RENAME TO old_aliases;

CREATE TABLE aliases (
    pattern VARCHAR NOT NULL,
    project_id VARCHAR DEFAULT '' NOT NULL,
    model VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (pattern, project_id),
    CHECK (pattern = lower(pattern) AND pattern <> ''),
    FOREIGN KEY(model) REFERENCES models (name)
);
INSERT INTO aliases (pattern, model, created_ms) SELECT pattern, model, created_ms FROM old_aliases;
CREATE INDEX ix_aliases_model ON aliases (model);
DROP TABLE old_aliases;

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
    CONSTRAINT limit_kind CHECK (kind IN ('concurrency', 'rpm', 'tpm', 'weight', 'priority')),
    CONSTRAINT limit_amount CHECK (amount > 0)
);
INSERT INTO limits (id, scope, subject_id, model, kind, amount, set_ms)
SELECT id, scope, subject_id, model, kind, amount, set_ms FROM old_limits;
DROP TABLE old_limits;
PRAGMA legacy_alter_table = OFF;
