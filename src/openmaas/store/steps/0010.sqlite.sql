-- Version 10: engines of kind openvino.
DROP INDEX ix_deployments_model;
PRAGMA legacy_alter_table = ON;
ALTER TABLE deployments RENAME TO old_deployments;

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
    CHECK (kind IN ('llama', 'embedder', 'echo', 'search', 'moderator', 'glm', 'openvino', 'openai_http')),
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
PRAGMA legacy_alter_table = OFF;
