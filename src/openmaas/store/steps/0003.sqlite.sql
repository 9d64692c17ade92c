-- Version 3: models that search and that moderate, and usage by day of what is no token.
DROP INDEX ix_deployments_model;
PRAGMA legacy_alter_table = ON;
ALTER TABLE models RENAME TO old_models;
ALTER TABLE deployments RENAME TO old_deployments;

CREATE TABLE models (
    name VARCHAR NOT NULL,
    task VARCHAR NOT NULL,
    context_tokens INTEGER NOT NULL,
    output_tokens_default INTEGER NOT NULL,
    description VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (name),
    CHECK (task IN ('generate', 'embed', 'search', 'moderate')),
    CHECK (context_tokens > 0 AND output_tokens_default >= 0)
);
INSERT INTO models SELECT * FROM old_models;

CREATE TABLE deployments (
    id VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    served_name VARCHAR NOT NULL,
    weights VARCHAR NOT NULL,
    url VARCHAR NOT NULL,
    credential_sealed BLOB,
    master_version INTEGER,
    slots INTEGER NOT NULL,
    options JSON NOT NULL,
    wanted VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CHECK (kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'openai_http')),
    CHECK (wanted IN ('running', 'stopped')),
    CHECK ((kind = 'openai_http') = (url <> '')),
    CHECK (slots > 0),
    FOREIGN KEY(model) REFERENCES models (name)
);
INSERT INTO deployments (id, model, kind, served_name, weights, url, credential_sealed, master_version, slots, options,
    wanted, created_ms)
SELECT id, model, kind, served_name, weights, url, credential_sealed, master_version, slots, options, wanted, created_ms
FROM old_deployments;
CREATE INDEX ix_deployments_model ON deployments (model);
DROP TABLE old_deployments;
DROP TABLE old_models;
PRAGMA legacy_alter_table = OFF;

ALTER TABLE usage_days ADD COLUMN units_call BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE usage_days ADD COLUMN units_character BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE usage_days ADD COLUMN units_image BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE usage_days ADD COLUMN units_second BIGINT DEFAULT '0' NOT NULL;
ALTER TABLE usage_days ADD COLUMN units_storage BIGINT DEFAULT '0' NOT NULL;
