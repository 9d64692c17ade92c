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
-- Knowledge bases, their documents and chunks.
CREATE TABLE knowledge_bases (
    id VARCHAR NOT NULL,
    organisation_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    embedding_id INTEGER NOT NULL,
    embedding_model VARCHAR NOT NULL,
    description VARCHAR NOT NULL,
    background VARCHAR NOT NULL,
    icon VARCHAR NOT NULL,
    customer_identifier VARCHAR NOT NULL,
    bucket_id VARCHAR NOT NULL,
    vector_length INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(project_id) REFERENCES projects (id)
);
CREATE INDEX knowledge_bases_by_project ON knowledge_bases (project_id, id);
CREATE TABLE knowledge_documents (
    id VARCHAR NOT NULL,
    knowledge_id VARCHAR NOT NULL,
    project_id VARCHAR NOT NULL,
    job_id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    knowledge_type INTEGER NOT NULL,
    separators JSON NOT NULL,
    sentence_size INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    words INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    embedded INTEGER NOT NULL,
    fail_code INTEGER NOT NULL,
    fail_message VARCHAR NOT NULL,
    created_ms BIGINT NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT document_state CHECK (state IN ('waiting', 'ready', 'failed')),
    CONSTRAINT document_embedded CHECK (embedded BETWEEN 0 AND chunks),
    FOREIGN KEY(id) REFERENCES files (id),
    FOREIGN KEY(knowledge_id) REFERENCES knowledge_bases (id)
);
CREATE INDEX ix_knowledge_documents_job_id ON knowledge_documents (job_id);
CREATE INDEX ix_knowledge_documents_project_id ON knowledge_documents (project_id);
CREATE INDEX knowledge_documents_by_base ON knowledge_documents (knowledge_id, id);
CREATE TABLE knowledge_chunks (
    document_id VARCHAR NOT NULL,
    number INTEGER NOT NULL,
    text TEXT NOT NULL,
    vector BLOB,
    PRIMARY KEY (document_id, number),
    FOREIGN KEY(document_id) REFERENCES knowledge_documents (id)
);
